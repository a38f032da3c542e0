"""The key that seals results is kept in the state folder, or there is a warning."""

import logging
from pathlib import Path

import pytest

from proxy import startup
from proxy.config import AsyncInferenceConfig, Config
from proxy.sealing import NotSealed


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    return tmp_path


def test_every_start_has_the_same_seal(folder: Path) -> None:
    first, second = startup.prepare_seal(Config()), startup.prepare_seal(Config())
    assert first is not None
    assert second is not None
    assert second.open(first.seal(b"content", "alice"), "alice") == b"content"


def test_another_folder_has_another(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = startup.prepare_seal(Config())
    monkeypatch.setenv("STATE_DIRECTORY", str(folder / "other"))
    second = startup.prepare_seal(Config())
    assert first is not None
    assert second is not None
    with pytest.raises(NotSealed):
        second.open(first.seal(b"content"))


def test_hosts_with_the_same_key_in_their_settings_have_the_same_seal(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(async_inference=AsyncInferenceConfig(seal_key="5e" * 32))
    first = startup.prepare_seal(config)
    monkeypatch.setenv("STATE_DIRECTORY", str(folder / "other"))
    second = startup.prepare_seal(config)
    assert first is not None
    assert second is not None
    assert second.open(first.seal(b"content", "alice"), "alice") == b"content"
    assert not [*folder.iterdir()]


@pytest.mark.parametrize("broken", ["not a folder", "no key"])
def test_where_it_cannot_be_kept_there_is_a_warning_and_none(
    folder: Path, broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if broken == "no key":
        (folder / "seal").write_bytes(b"x")
    else:
        (folder / "file").touch()
        monkeypatch.setenv("STATE_DIRECTORY", str(folder / "file"))
    with caplog.at_level(logging.WARNING):
        assert startup.prepare_seal(Config()) is None
    (record,) = caplog.records
    assert "without a Location" in record.getMessage()
