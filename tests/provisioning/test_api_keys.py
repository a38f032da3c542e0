"""Keys are refused when they cannot be used, and replaced without locking anybody out."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

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
        {"name": "alice", "key": "my-secret"},
        {"name": "alice", "key": ALICE},
        {"name": "bob", "key": ALICE.upper()},
        {"name": "carol", "key": BOB, "modles": ["x"], "expires": "soon", "max_concurrent": 0},
        {"key": OLD, "models": "all", "previous_key": str(uuid.uuid4())},
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
    ):
        assert problem in " ".join(outcome.output.split())
    for key in ("my-secret", ALICE, BOB, OLD):
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


def test_keys_that_are_kept_elsewhere_are_not_replaced(service: Service) -> None:
    keys = [{"name": "alice", "key": ALICE}]
    outcome = service.play("rotate_keys.yml", ok=False, api_keys_list=keys)
    assert "The keys are in api_keys_list" in outcome.output
    assert ALICE not in outcome.output
