"""Keys are UUID4s, held as hashes."""

import hashlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.keys import Caller, InvalidKeyFormat, Key, KeyRing, check_key, hash_key, new_key

KEY = "3c6f2a52-1c0f-4d6e-9a53-0e6f4a8f2b11"


def test_a_new_key_is_a_random_uuid4() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(uuid.UUID(key).version == 4 for key in keys)


def test_the_hash_is_sha_256_in_hex() -> None:
    assert hash_key(KEY) == hashlib.sha256(KEY.encode()).hexdigest()


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "secret",
        "3c6f2a52-1c0f-1d6e-9a53-0e6f4a8f2b11",  # version 1
        "3c6f2a521c0f4d6e9a530e6f4a8f2b11",  # no dashes
        "{3c6f2a52-1c0f-4d6e-9a53-0e6f4a8f2b11}",
        "urn:uuid:3c6f2a52-1c0f-4d6e-9a53-0e6f4a8f2b11",
        "3c6f2a52-1c0f-4d6e-9a53-0e6f4a8f2b1g",
    ],
)
def test_what_is_no_uuid4_is_refused_without_being_repeated(bad: str) -> None:
    with pytest.raises(InvalidKeyFormat, match="new-key") as caught:
        KeyRing.of_single_key(bad)
    assert not bad or bad not in str(caught.value)


def test_a_key_is_found_in_any_case() -> None:
    assert check_key(KEY.upper()) == KEY
    ring = KeyRing.of_single_key(KEY.upper())
    assert ring.find(KEY) == ring.find(KEY.upper()) == Caller("default")


@given(st.text(max_size=200))
def test_nothing_else_finds_a_caller(offered: str) -> None:
    assert KeyRing.of_single_key(KEY).find(offered) is None


def test_every_caller_is_found_by_its_own_key() -> None:
    keys = {name: new_key() for name in ("alice", "bob", "carol")}
    ring = KeyRing({hash_key(key): Key(Caller(name)) for name, key in keys.items()})
    for name, key in keys.items():
        assert ring.find(key) == Caller(name)
    assert ring.find(new_key()) is None


def test_a_caller_of_every_model_is_one_without_bounds() -> None:
    assert Caller("alice").may_call_all
    assert Caller("alice", ("llama", "*")).may_call_all
    assert not Caller("alice", ("llama", "embed-*")).may_call_all


def test_the_ring_does_not_hold_the_key() -> None:
    ring = KeyRing.of_single_key(KEY)
    assert KEY not in repr(vars(ring))
