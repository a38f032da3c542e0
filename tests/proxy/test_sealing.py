"""What is sealed opens as it was, for the same context and key alone."""

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sealing import KEY_BYTES, NotSealed, Seal, shared_key

SEAL = Seal(bytes(range(KEY_BYTES)))
contexts = st.lists(st.text(max_size=20), max_size=3)


@given(content=st.binary(max_size=300), context=contexts)
def test_it_opens_as_it_was(content: bytes, context: list[str]) -> None:
    sealed = SEAL.seal(content, *context)
    assert SEAL.open(sealed, *context) == content
    assert set(sealed) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(content=st.binary(max_size=60), data=st.data())
def test_any_bit_that_is_flipped_is_noticed(content: bytes, data: st.DataObject) -> None:
    sealed = SEAL.seal(content, "alice", "endpoint")
    raw = bytearray(base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(NotSealed):
        SEAL.open(base64.urlsafe_b64encode(raw).rstrip(b"=").decode(), "alice", "endpoint")


@given(content=st.binary(max_size=60), data=st.data())
def test_any_letter_that_is_changed_is_noticed(content: bytes, data: st.DataObject) -> None:
    # The last letter may stand for bits that no byte has: those count, too.
    sealed = SEAL.seal(content)
    place = data.draw(st.integers(0, len(sealed) - 1))
    letter = data.draw(st.characters().filter(lambda each: each != sealed[place]))
    with pytest.raises(NotSealed):
        SEAL.open(sealed[:place] + letter + sealed[place + 1 :])


@given(text=st.text(max_size=100))
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(NotSealed):
        SEAL.open(text)


@pytest.mark.parametrize("spelling", ["{}=", "{}==", " {}", "{}\n", "{}A", "{}\x00"])
def test_another_spelling_is_refused(spelling: str) -> None:
    with pytest.raises(NotSealed):
        SEAL.open(spelling.format(SEAL.seal(b"content")))


@given(sealed_for=contexts, opened_for=contexts)
def test_it_opens_in_its_own_context_alone(sealed_for: list[str], opened_for: list[str]) -> None:
    sealed = SEAL.seal(b"content", *sealed_for)
    if sealed_for == opened_for:
        assert SEAL.open(sealed, *opened_for) == b"content"
    else:
        with pytest.raises(NotSealed):
            SEAL.open(sealed, *opened_for)


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(NotSealed):
        Seal(bytes(KEY_BYTES)).open(SEAL.seal(b"content"))


def test_the_same_content_is_sealed_differently_each_time() -> None:
    assert SEAL.seal(b"content") != SEAL.seal(b"content")


def test_a_key_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Seal(bytes(16))


class TestSharedKey:
    def test_it_is_made_once_for_its_owner_alone_and_nothing_else_is_left(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "state" / "seal"
        key = shared_key(path)
        assert len(key) == KEY_BYTES
        assert shared_key(path) == key
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert [each.name for each in path.parent.iterdir()] == ["seal"]

    def test_all_who_come_at_once_get_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Path, "exists", lambda path: False)  # as each sees it at first
        with ThreadPoolExecutor(8) as pool:
            keys = set(pool.map(shared_key, [tmp_path / "seal"] * 8))
        assert len(keys) == 1
        assert [each.name for each in tmp_path.iterdir()] == ["seal"]

    def test_a_file_that_holds_no_key_is_refused_and_not_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "seal"
        path.write_bytes(b"short")
        with pytest.raises(ValueError, match="5 bytes"):
            shared_key(path)
        assert path.read_bytes() == b"short"

    def test_what_cannot_be_written_leaves_nothing_behind(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            shared_key(tmp_path / "seal")
        assert list(tmp_path.iterdir()) == []
