"""Any order of connections, requests, halves of requests, garbage, departures and reloads.

What holds after each step: the service answers, and no worker has died. What holds at the end: each
request that was whole has one whole answer of its own, and SageMaker got what was sent, once.
"""

import signal
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from proxy.keys import hash_key
from tests.emulator.emulator import Emulator
from tests.integration.conftest import QUICK
from tests.integration.raw import RawAnswer, RawClient
from tests.integration.running import RunningProxy

ECHO = "/endpoints/demo-echo/invocations"
BOB = str(uuid.uuid4())

GARBAGE = (
    b"\r\n\r\nnonsense\r\n\r\n",
    b"\x16\x03\x01\x00\xa5\x01\x00\x00\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/3.0\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX-A: \x00\r\n\r\n",
)


@dataclass(frozen=True)
class Sent:
    """A whole request, and what its answer has to be."""

    data: bytes
    request_id: str
    status: int
    body: bytes | None = None  # None: whatever it is
    is_head: bool = False
    reaches: bytes | None = None  # what SageMaker is sent

    def check(self, answer: RawAnswer) -> None:
        assert answer.headers["x-request-id"] == self.request_id, "another request's answer"
        assert answer.status == self.status
        assert self.body is None or answer.body == self.body


@dataclass
class Connection:
    """One client's, and what it has to hear."""

    client: RawClient
    bob_may: bool  # as of the worker that it leads to
    owed: list[Sent] = field(default_factory=list)
    begun: tuple[Sent, bytes] | None = None  # the rest of a request
    is_garbled: bool = False
    may_end: bool = False  # its worker drains: one more answer, or none

    def send(self, sent: Sent, first: int | None = None) -> None:
        """Send all of a request, or the first so many bytes."""
        try:
            if self.begun is not None:
                (begun, rest), self.begun = self.begun, None
                self.client.send(rest)
                self.owed.append(begun)
            if first is None:
                self.client.send(sent.data)
                self.owed.append(sent)
            else:
                first %= len(sent.data)
                self.client.send(sent.data[:first])
                self.begun = (sent, sent.data[first:])
        except OSError:
            assert self.may_end
            self.owed.clear()
            self.is_garbled = True  # nothing more can be said

    def hear(self) -> None:
        """Take the answer that comes next."""
        sent = self.owed.pop(0)
        try:
            answer = self.client.read_answer(head=sent.is_head)
        except ConnectionError:
            assert self.may_end, "closed without an answer"
            self.owed.clear()
            self.is_garbled = True
            return
        sent.check(answer)
        if answer.headers.get("connection", "").lower() == "close":
            self.owed.clear()
            self.is_garbled = True
            assert self.client.is_closed()


class HttpSurface(RuleBasedStateMachine):
    """Clients of one proxy."""

    proxy: ClassVar[RunningProxy]
    emulator: ClassVar[Emulator]
    bob_may: ClassVar[bool]
    whole: ClassVar[set[bytes]]  # the bodies that may reach SageMaker

    connections = Bundle("connections")

    def __init__(self) -> None:
        super().__init__()
        self.before = len(self.emulator.calls("demo-echo"))
        self.all: list[Connection] = []
        self.has_reloaded = False

    # --- requests ----------------------------------------------------------------------------

    def request(self, kind: str, bob_may: bool) -> Sent:
        id_ = uuid.uuid4().hex
        head = f"Host: x\r\nX-Request-Id: {id_}\r\n"
        key = f"X-API-Key: {self.proxy.key}\r\n"
        body = f"body of {id_}"
        length = f"Content-Length: {len(body)}\r\n\r\n{body}"
        chunked = f"Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n{body}\r\n0\r\n\r\n"
        chat = '{"model": "demo-chat", "stream": true, "messages": [{"role":"user","content":"a"}]}'
        match kind:
            case "echo":
                text, status = f"POST {ECHO} HTTP/1.1\r\n{head}{key}{length}", 200
            case "chunked echo":
                text, status = f"POST {ECHO} HTTP/1.1\r\n{head}{key}{chunked}", 200
            case "bob's echo":
                bobs = f"X-API-Key: {BOB}\r\n"
                text, status = f"POST {ECHO} HTTP/1.1\r\n{head}{bobs}{length}", 200
                status = 200 if bob_may else 401
            case "refused":
                text, status = f"POST {ECHO} HTTP/1.1\r\n{head}{length}", 401
            case "refused chunks":
                text, status = f"POST {ECHO} HTTP/1.1\r\n{head}{chunked}", 401
            case "stream":
                text = f"POST /v1/chat/completions HTTP/1.1\r\n{head}{key}"
                text, status = f"{text}Content-Length: {len(chat)}\r\n\r\n{chat}", 200
            case "head":
                text, status = f"HEAD /v1/models HTTP/1.1\r\n{head}{key}\r\n", 200
            case "options":
                text, status = f"OPTIONS * HTTP/1.1\r\n{head}\r\n", 204
            case "nowhere":
                text, status = f"GET /nowhere HTTP/1.1\r\n{head}{key}{length}", 404
            case _:
                text, status = f"GET /healthz HTTP/1.1\r\n{head}\r\n", 200
        echoed = body.encode() if "echo" in kind and status == 200 else None
        return Sent(text.encode(), id_, status, echoed, kind == "head", echoed)

    kinds = st.sampled_from(
        (
            *("echo", "chunked echo", "bob's echo", "refused", "refused chunks", "stream"),
            *("head", "options", "nowhere", "healthz"),
        )
    )

    # --- what clients do ---------------------------------------------------------------------

    @rule(target=connections)
    def open(self) -> Connection:
        connection = Connection(RawClient(self.proxy), self.bob_may)
        self.all.append(connection)
        return connection

    def _say(self, connection: Connection, kind: str, first: int | None = None) -> None:
        if not connection.is_garbled:
            sent = self.request(kind, connection.bob_may)
            if sent.reaches is not None:
                self.whole.add(sent.reaches)
            connection.send(sent, first)

    @rule(connection=connections, some=st.lists(kinds, min_size=1, max_size=5))
    def ask(self, connection: Connection, some: list[str]) -> None:
        for kind in some:
            self._say(connection, kind)

    @rule(connection=connections, kind=kinds, first=st.integers(0, 300))
    def begin(self, connection: Connection, kind: str, first: int) -> None:
        self._say(connection, kind, first)

    @rule(connection=connections)
    def hear(self, connection: Connection) -> None:
        if connection.owed:
            connection.hear()

    @rule(connection=consumes(connections), garbage=st.sampled_from(GARBAGE))
    def garble(self, connection: Connection, garbage: bytes) -> None:
        if connection.begun is not None or connection.is_garbled:
            return
        try:
            connection.client.send(garbage)
        except OSError:
            assert connection.may_end
        while connection.owed:
            connection.hear()
        if not connection.is_garbled:
            try:
                assert connection.client.read_answer().status == 400
            except ConnectionError:
                assert connection.may_end
            assert connection.client.is_closed()
            connection.is_garbled = True

    @rule(connection=consumes(connections))
    def leave(self, connection: Connection) -> None:
        connection.client.__exit__(None, None, None)
        self.all.remove(connection)

    @precondition(lambda self: not self.has_reloaded)  # it takes a second or two
    @rule()
    def reload_with_other_keys(self) -> None:
        self.has_reloaded = True
        type(self).bob_may = not self.bob_may
        write_keys(self.proxy.directory, self.bob_may)
        self.proxy.process.send_signal(signal.SIGHUP)
        reloaded = self.proxy.wait_for_log(lambda entry: "reload" in entry["message"], 60)
        if reloaded["message"] == "reloading":
            reloaded = self.proxy.wait_for_log(lambda entry: "reload" in entry["message"], 60)
        assert reloaded["message"] == "reloaded"
        for connection in self.all:
            connection.may_end = True

    # --- what holds --------------------------------------------------------------------------

    @invariant()
    def it_answers(self) -> None:
        with RawClient(self.proxy) as client:
            assert client.request("GET", "/healthz", {}).json() == {"status": "ok"}

    @invariant()
    def no_worker_has_died(self) -> None:
        assert self.proxy.process.poll() is None
        assert not [line for line in self.proxy.log if "ended by itself" in line]
        assert not [line for line in self.proxy.log if '"traceback"' in line]

    def teardown(self) -> None:
        for connection in self.all:
            with connection.client:
                while connection.owed:
                    connection.hear()
        # Some may be of clients that left a run before this one.
        reached = [call.body for call in self.emulator.calls("demo-echo")[self.before :]]
        assert len(reached) == len(set(reached)), "a request was sent on twice"
        assert set(reached) <= self.whole, "what was sent on, nobody has sent"


def write_keys(directory: Path, bob_may: bool) -> None:
    owner = BOB if bob_may else str(uuid.uuid4())
    (directory / "keys.toml").write_text(f'[keys.bob]\nsha256 = "{hash_key(owner)}"\n')


@pytest.fixture(scope="module")
def proxy(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    directory = tmp_path_factory.mktemp("proxy")
    write_keys(directory, bob_may=True)
    with RunningProxy(directory, emulator.environment(), QUICK, workers=2) as proxy:
        yield proxy


def test_whatever_clients_do(proxy: RunningProxy, emulator: Emulator) -> None:
    HttpSurface.proxy, HttpSurface.emulator = proxy, emulator
    HttpSurface.bob_may, HttpSurface.whole = True, set()
    run_state_machine_as_test(
        HttpSurface,
        settings=settings(
            max_examples=6,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
