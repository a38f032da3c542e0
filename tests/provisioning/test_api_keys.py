"""Keys are refused when they cannot be used, and replaced without locking anybody out."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.keys import hash_key
from tests.provisioning.service import Service

pytestmark = pytest.mark.timeout(600)

ALICE, BOB = str(uuid.uuid4()), str(uuid.uuid4())
OLD = str(uuid.uuid4())


@pytest.fixture
def service(other_service: Service) -> Service:
    """A service whose keys may be others."""
    return other_service


@pytest.fixture
def listed(service: Service) -> Iterator[Service]:
    """A service that goes back to the key made for it."""
    service.host.run("cp -p /etc/sagemaker-proxy/keys.toml /root")
    yield service
    service.host.run("cp -p /root/keys.toml /etc/sagemaker-proxy; systemctl reload sagemaker-proxy")


def statuses(service: Service, *keys: str) -> list[int]:
    return [service.get("/v1/models", key).status_code for key in keys]


def test_a_list_of_keys_takes_the_place_of_the_one_that_was_made(listed: Service) -> None:
    keys: list[dict[str, Any]] = [
        {"name": "alice", "key": ALICE.upper(), "expires": "2999-01-01", "max_concurrent": 4},
        {
            "name": "bob",
            "key": BOB,
            "models": ["demo-e*"],
            "previous_key": OLD,
            "previous_expires": "2999-01-01T12:00:00Z",
        },
    ]
    assert listed.foreseen(api_keys_list=keys) == "reload"
    outcome = listed.play(api_keys_list=keys)
    assert statuses(listed, ALICE, BOB, OLD, listed.key) == [200, 200, 200, 401]
    seen = listed.get("/v1/models", OLD).json()["data"]
    assert [model["id"] for model in seen] == ["demo-echo"]
    written = listed.host.run("cat /etc/sagemaker-proxy/keys.toml").stdout
    for key in (ALICE, BOB, OLD):
        assert key not in (written + outcome.output).lower()


def test_keys_that_cannot_be_used_are_refused_all_at_once_and_not_repeated(
    service: Service,
) -> None:
    before = service.host.run("cat /etc/sagemaker-proxy/keys.toml").stdout
    keys = [
        {"name": "alice", "key": f"{OLD}\n"},
        {"name": "alice", "key": ALICE},
        {"name": "bob", "key": ALICE.upper()},
        {
            "name": "carol",
            "key": BOB,
            "modles": ["x"],
            "expires": "2027-02-29",
            "max_concurrent": 0,
        },
        {"key": OLD, "models": "all", "previous_key": str(uuid.uuid4())},
        {"name": "dave", "sha256": "0A" * 32},
        {"name": "erin", "key": str(uuid.uuid4()), "sha256": hash_key(BOB)},
        {"name": "frank", "sha256": hash_key(ALICE)},
    ]
    outcome = service.play("site.yml", ok=False, api_keys_list=keys)
    for problem in (
        "alice: key is no UUID4",
        "alice: the name is there twice",
        "bob: key is the same as a key of alice",
        "carol: modles is no setting of a key",
        "carol: expires must be a date or time",
        "carol: max_concurrent must be a whole number above 0",
        "entry 5: name is needed",
        "entry 5: models must be a list",
        "entry 5: previous_key goes with previous_expires",
        "dave: sha256 is no SHA-256",
        "erin: key and sha256 say the same",
        "frank: sha256 is the same as a key of alice",
    ):
        assert problem in " ".join(outcome.output.split())
    for key in (ALICE, BOB, OLD):
        assert key not in outcome.output
    assert service.host.run("cat /etc/sagemaker-proxy/keys.toml").stdout == before


def test_rotation_keeps_the_old_key_beside_the_new_one_until_it_ends(service: Service) -> None:
    old = service.key
    outcome = service.play("rotate_keys.yml", api_keys_overlap_seconds=25)
    new = service.key
    assert new != old
    assert statuses(service, new, old) == [200, 200]
    assert "The old key ends at" in outcome.output
    assert not any(key in outcome.output for key in (old, new))
    service.wait_until(lambda: statuses(service, old) == [401], 60)
    assert statuses(service, new) == [200]


def test_a_rotation_that_was_broken_off_is_finished_and_no_other_key_is_made(
    service: Service, tmp_path: Path
) -> None:
    old, new = service.key, str(uuid.uuid4())
    previous = service.key_file.with_name(f"{service.key_file.name}.previous")
    long_ago = {"previous_key": old, "previous_expires": "2020-01-01T00:00:00Z"}
    previous.write_text(json.dumps(long_ago))
    service.key_file.write_text(new)
    # To bring the new one now would end the old one at once.
    assert "play rotate_keys.yml" in " ".join(service.play(ok=False).output.split())
    outcome = service.play("rotate_keys.yml")
    assert "this one goes there" in " ".join(outcome.output.split())
    assert service.key == new
    assert statuses(service, new, old) == [200, 200]
    # Another one now would end the one that has only just been replaced.
    refused = service.play("rotate_keys.yml", ok=False)
    assert "clients may still use it" in " ".join(refused.output.split())
    assert service.key == new
    # A copy from before the rotation: its key is on the host, but not as the current one.
    copy = tmp_path / "copy"
    copy.write_text(old)
    refused = service.play("rotate_keys.yml", ok=False, api_keys_file=str(copy))
    assert f"not in {copy}." in " ".join(refused.output.split())
    assert statuses(service, new, old) == [200, 200]


def test_a_host_with_keys_is_given_no_other_because_the_file_of_its_key_is_not_here(
    service: Service, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "key"
    outcome = service.play(ok=False, api_keys_file=str(elsewhere))
    assert f"not in {elsewhere}, which is not there" in " ".join(outcome.output.split())
    assert not elsewhere.exists()
    assert statuses(service, service.key) == [200]


def test_keys_that_are_kept_elsewhere_are_not_replaced(service: Service) -> None:
    keys = [{"name": "alice", "key": ALICE}]
    outcome = service.play("rotate_keys.yml", ok=False, api_keys_list=keys)
    assert "The keys are in api_keys_list" in outcome.output
    assert ALICE not in outcome.output
