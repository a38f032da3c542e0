import os
import subprocess
import sys

import pytest

from tests.benchmark import procfs

STAT = (
    "4711 (a (strange) name) S 42 4711 4711 0 -1 4194560 1029 0 3 0 {user} {system} 0 0 20 0 3 0 "
    "1234 1000000 500 18446744073709551615"
)


def test_a_process_tells_its_parent_and_its_cpu_time() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    stat = procfs.parse_stat(STAT.format(user=ticks, system=ticks // 2))
    assert stat.parent == 42
    assert stat.cpu_seconds == pytest.approx(1.5)


def test_what_the_host_has_taken_is_told() -> None:
    tick = 1 / os.sysconf("SC_CLK_TCK")
    text = "cpu  10 0 20 60 0 0 0 10 0 0\ncpu0 10 0 20 60 0 0 0 10 0 0\n"
    assert procfs.parse_stolen(text) == pytest.approx((10 * tick, 100 * tick))


def test_memory_is_told_in_bytes() -> None:
    text = "00400000-7ffd ---p 00000000 00:00 0 [rollup]\nRss:   1000 kB\nPss:    700 kB\n"
    assert procfs.parse_smaps_rollup(text) == procfs.Memory(pss=700 * 1024, rss=1000 * 1024)


def test_a_tree_has_the_process_and_its_children() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = procfs.tree(os.getpid())
        assert found[0] == os.getpid()
        assert child.pid in found
        assert procfs.memory(child.pid).rss > 0
        child.communicate(b"\n")


def test_a_process_that_is_gone_has_used_nothing() -> None:
    assert procfs.cpu_seconds([2**22 + 1]) == 0
    assert procfs.cpu_seconds([os.getpid()]) > 0
