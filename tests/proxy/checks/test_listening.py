"""Who listens, and how near it is to its limit of open files, is told by the kernel."""

import os
import socket
import subprocess
import sys

from proxy.checks import listening

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1
   1: 0100007F:1F40 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1
   2: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1
"""


def test_of_all_sockets_those_that_listen_on_the_port_count() -> None:
    assert listening.listening_inodes([TCP], 8000) == {"4711"}
    assert listening.listening_inodes([TCP], 22) == {"4713"}
    assert listening.listening_inodes([TCP, ""], 443) == set()


def test_this_process_is_found_with_its_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (process,) = listening.processes(port)
    assert process.pid == os.getpid()
    assert process.name
    assert process.open_files >= 3
    assert process.most_files is None or process.open_files <= process.most_files


def test_nobody_is_found_where_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert listening.processes(unused.getsockname()[1]) == []


def test_there_may_be_no_limit() -> None:
    assert listening.most_files("Max open files            1024   4096   files\n") == 1024
    assert listening.most_files("Max open files            unlimited unlimited files\n") is None


def test_a_proxy_of_this_user_is_found_by_its_command_line() -> None:
    line = [sys.executable, "-c", "input('up')", "-m", "proxy", "serve", "--port", "0"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as standin:
        assert standin.stdout is not None
        assert standin.stdout.read(2)  # its command line can be read only once it runs
        found = {process.pid for process in listening.workers()}
        standin.communicate(b"\n")
    assert standin.pid in found
    assert os.getpid() not in found
