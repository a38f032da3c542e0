"""Each worker has listening sockets of its own, all on one port."""

import socket

import pytest

from proxy.sockets import bind, share


def close(groups: list[list[socket.socket]]) -> None:
    for group in groups:
        for each in group:
            each.close()


def test_every_group_listens_on_the_same_port() -> None:
    groups = bind("127.0.0.1", 0, workers=3)
    assert [len(group) for group in groups] == [1, 1, 1]
    assert len({group[0].getsockname() for group in groups}) == 1
    assert len({group[0].fileno() for group in groups}) == 3
    close(groups)


@pytest.mark.parametrize(
    ("given", "workers", "sizes"),
    [(4, 4, [1, 1, 1, 1]), (4, 2, [2, 2]), (3, 2, [2, 1]), (1, 4, [1]), (2, 3, [1, 1])],
)
def test_sockets_that_were_given_are_dealt_to_as_many_as_can_have_one(
    given: int, workers: int, sizes: list[int]
) -> None:
    sockets = [socket.socket() for _ in range(given)]
    groups = share(sockets, workers)
    assert [len(group) for group in groups] == sizes
    assert {id(each) for group in groups for each in group} == {id(each) for each in sockets}
    close(groups)


def test_the_kernel_asks_after_clients_that_say_nothing() -> None:
    given = [socket.create_server(("127.0.0.1", 0))]
    for groups in (bind("127.0.0.1", 0, workers=1), share(given, workers=1)):
        listener = groups[0][0]
        with socket.create_connection(listener.getsockname()):
            listener.setblocking(True)
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                # Well before a load balancer forgets it.
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) < 350 / 2
        close(groups)
