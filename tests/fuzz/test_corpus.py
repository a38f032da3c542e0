"""Every input that is kept, those of faults that were mended among them, keeps every promise."""

from collections.abc import Callable

import pytest

from tests.fuzz import targets

MOST_FILES, MOST_BYTES = 60, 64 * 1024


@pytest.mark.parametrize("target", targets.TARGETS)
def test_it_keeps_its_promises(target: str) -> None:
    check: Callable[[bytes], None] = targets.load(target)
    seeds = targets.seeds(target)
    assert seeds
    for seed in seeds:
        try:
            check(seed.read_bytes())
        except Exception as exc:
            raise AssertionError(f"{seed}: {exc!r}") from exc


@pytest.mark.parametrize("target", targets.TARGETS)
def test_the_corpus_is_small(target: str) -> None:
    seeds = targets.seeds(target)
    assert len(seeds) <= MOST_FILES
    assert sum(seed.stat().st_size for seed in seeds) <= MOST_BYTES
