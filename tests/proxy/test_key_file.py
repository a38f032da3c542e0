"""``keys.toml`` says who may call what until when; what is wrong with it is said all at once."""

import time
from pathlib import Path

import pytest

from proxy import key_file
from proxy.key_file import KeyFileError
from proxy.keys import NO_LIMITS, KeyLimits, KeyRing, hash_key, new_key


def write(directory: Path, text: str) -> Path:
    path = directory / "keys.toml"
    path.write_text(text)
    return path


def ring(directory: Path, text: str) -> KeyRing:
    return KeyRing(key_file.read(write(directory, text)))


def problems(directory: Path, text: str) -> list[str]:
    path = write(directory, text)
    with pytest.raises(KeyFileError) as caught:
        key_file.read(path)
    assert all(problem.startswith(f"{path}: ") for problem in caught.value.problems)
    return [problem.removeprefix(f"{path}: ") for problem in caught.value.problems]


def test_each_key_is_its_names_caller(tmp_path: Path) -> None:
    alice, bob = new_key(), new_key()
    keys = ring(
        tmp_path,
        f'[keys.alice]\nsha256 = "{hash_key(alice)}"\n'
        f'[keys.bob]\nsha256 = "{hash_key(bob).upper()}"\nmodels = ["llama", "embed-*"]\n',
    )
    found_alice, found_bob = keys.find(alice), keys.find(bob)
    assert found_alice is not None
    assert found_bob is not None
    assert (found_alice.name, found_bob.name) == ("alice", "bob")
    assert found_alice.may_call("anything")
    assert found_bob.may_call("llama")
    assert found_bob.may_call("embed-small")
    assert not found_bob.may_call("llama-2")
    assert keys.find(new_key()) is None


def test_a_name_may_have_several_keys(tmp_path: Path) -> None:
    both = [new_key(), new_key()]
    keys = ring(tmp_path, f"[keys.alice]\nsha256 = {[hash_key(key) for key in both]}\n")
    assert [caller and caller.name for caller in map(keys.find, both)] == ["alice", "alice"]


@pytest.mark.parametrize(
    ("expires", "valid"),
    [
        *(("2020-01-01", False), ("2999-01-01", True)),
        *(("2020-01-01T00:00:00", False), ("2999-01-01T00:00:00+02:00", True)),
    ],
)
def test_a_key_ends_when_it_expires(tmp_path: Path, expires: str, valid: bool) -> None:
    key = new_key()
    keys = ring(tmp_path, f'[keys.a]\nsha256 = "{hash_key(key)}"\nexpires = {expires}\n')
    assert (keys.find(key) is not None) is valid


def test_a_key_ends_while_the_ring_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, old = new_key(), new_key()
    keys = ring(
        tmp_path,
        f'[keys.a]\nsha256 = "{hash_key(new)}"\n'
        f'previous_sha256 = "{hash_key(old)}"\nprevious_expires = 2100-01-01T00:00:00Z\n',
    )
    end = 4102444800.0
    monkeypatch.setattr(time, "time", lambda: end - 1)
    assert keys.find(new) == keys.find(old) is not None
    monkeypatch.setattr(time, "time", lambda: end)
    assert keys.find(old) is None
    assert keys.find(new) is not None


def test_limits_are_the_callers(tmp_path: Path) -> None:
    limits = "requests_per_minute = 600\ntokens_per_minute = 200_000\nmax_concurrent = 32"
    text = "".join(
        f'[keys.{name}]\nsha256 = "{hash_key(new_key())}"\n{limit}\n'
        for name, limit in (("a", ""), ("b", limits))
    )
    a, b = key_file.read(write(tmp_path, text)).values()
    assert a.caller.limits == NO_LIMITS
    assert b.caller.limits == KeyLimits(600, 200_000, 32)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "[kyes.x]\n[keys.a]\nsha256 = 'abc'\nmodles = []\n[keys.b]\nmodels = 'x'\n"
        "max_concurrent = 0\nexpires = '2027-01-01'\n[keys.'c d']\nsha256 = []\n"
        f"[keys.e]\nsha256 = '{'0' * 64}'\nprevious_sha256 = '{'1' * 64}'\n",
    )
    assert [problem.partition(": ")[0] for problem in found] == [
        "kyes",
        "keys.a.modles",
        "keys.a.sha256",
        "keys.b.models",
        "keys.b.max_concurrent",
        "keys.b.sha256",
        "keys.b.expires",
        "keys.'c d'",
        "keys.c d.sha256",
        "keys.e.previous_sha256",
    ]
    assert "did you mean models?" in found[1]


def test_the_same_key_twice_is_refused_without_being_repeated(tmp_path: Path) -> None:
    digest = hash_key(new_key())
    (between,) = problems(
        tmp_path, f'[keys.a]\nsha256 = "{digest}"\n[keys.b]\nsha256 = "{digest}"\n'
    )
    assert between == "keys.b: has a key that keys.a has, too"
    (within,) = problems(tmp_path, f'[keys.a]\nsha256 = ["{digest}", "{digest}"]\n')
    assert within == "keys.a: has a key twice"


@pytest.mark.parametrize("text", ["keys = 1", "[keys]\na = 1", "not toml", "\0"])
def test_what_is_no_key_file_is_refused(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be read"):
        key_file.read(tmp_path / "none.toml")
