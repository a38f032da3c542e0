"""Keys are UUID4s, held as hashes."""

import hashlib
import hmac
import uuid
from types import SimpleNamespace

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


class Looked(dict[str, tuple[str, Key]]):
    """The ring's own table, which writes down what is looked for in it."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.wanted: list[object] = []

    def get(self, wanted: object, default: object = None) -> object:  # type: ignore[override]
        self.wanted.append(wanted)
        return super().get(wanted, default)  # type: ignore[call-overload]


@pytest.mark.parametrize("length", range(0, 37, 4))
def test_nothing_that_a_wrong_key_shares_with_the_right_one_is_ever_compared(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So no clock can tell how much of it is right: its hash has nothing of the right one's."""
    offered = KEY[:length] + "x" * (36 - length)
    ring = KeyRing.of_single_key(KEY)
    looked = ring._keys = Looked(ring._keys)
    compared: list[str] = []

    def compare(one: str, other: str) -> bool:
        compared.extend((one, other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr("proxy.keys.hmac", SimpleNamespace(compare_digest=compare))
    assert (ring.find(offered) is not None) == (length == 36)
    assert looked.wanted == [hash_key(offered)]
    assert compared == [hash_key(KEY) if length == 36 else "0" * 64, hash_key(offered)]


def test_the_ring_does_not_hold_the_key() -> None:
    ring = KeyRing.of_single_key(KEY)
    assert KEY not in repr(vars(ring))
