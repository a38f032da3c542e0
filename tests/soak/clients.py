"""Clients that mean well: they ask, wait for the whole answer, and have it judged."""

import asyncio
import random
import uuid
from collections.abc import Mapping, Sequence

import aiohttp

from tests.soak.judging import Outcome, Received, judge
from tests.soak.ledger import Ledger
from tests.soak.questions import Question
from tests.soak.site import Site

_ANSWER_SECONDS = 60.0
_PAUSE_SECONDS = (0.4, 1.6)
_REQUESTS_OF_A_CONNECTION = 40
_POLL_SECONDS = 0.5
_MOST_POLLS = 120

Questions = Mapping[str, Sequence[Question]]


class Client:
    """Asks one question after the other, on a connection that it keeps for a while."""

    def __init__(self, site: Site, ledger: Ledger, questions: Questions, seed: int) -> None:
        self._site = site
        self._ledger = ledger
        self._questions = questions
        self._rng = random.Random(seed)

    async def run(self) -> None:
        """Go on until cancelled; what is asked then is not judged."""
        while True:
            async with self._session() as session:
                for _ in range(_REQUESTS_OF_A_CONNECTION):
                    await self._do_one(session)
                    await asyncio.sleep(self._rng.uniform(*_PAUSE_SECONDS))

    async def _do_one(self, session: aiohttp.ClientSession) -> None:
        kind = self._rng.choice((*self._questions, "asynchronous", "wrong key"))
        if kind == "asynchronous":
            await self._ask_asynchronously(session)
        elif kind == "wrong key":
            await self._try_a_wrong_key(session)
        else:
            await self._ask(session, self._rng.choice(self._questions[kind]))

    async def _ask(self, session: aiohttp.ClientSession, question: Question) -> None:
        key = self._site.limited_key if question.kind == "limited" else self._site.proxy.key
        headers = {**question.headers, "X-API-Key": key}
        received = await self._send(session, question.kind, question.path, question.body, headers)
        if received is not None:
            self._ledger.note(question.kind, *judge(question, received))

    async def _ask_asynchronously(self, session: aiohttp.ClientSession) -> None:
        kind, body = "asynchronous", self._rng.randbytes(self._rng.randint(1, 2_000))
        headers = {"X-API-Key": self._site.proxy.key, "Content-Type": "application/x-any"}
        path = "/endpoints/steady-echo/async-invocations"
        received = await self._send(session, kind, path, body, headers)
        for _ in range(_MOST_POLLS):
            if received is None:
                return
            if received.status != 202:
                question = Question(kind, path, body, body)
                self._ledger.note(kind, *judge(question, received))
                return
            path = received.headers.get("Location", path)
            await asyncio.sleep(_POLL_SECONDS)
            received = await self._send(session, kind, path, None, headers)
        self._ledger.note(kind, Outcome.BROKEN, "it never ended")

    async def _try_a_wrong_key(self, session: aiohttp.ClientSession) -> None:
        kind, path = "wrong key", "/endpoints/steady-echo/invocations"
        headers = {"X-API-Key": str(uuid.UUID(int=self._rng.getrandbits(128), version=4))}
        received = await self._send(session, kind, path, b"let me in", headers)
        if received is not None:
            question = Question(kind, path, b"", b"nobody is let in", excused=frozenset({401, 429}))
            self._ledger.note(kind, *judge(question, received))

    async def _send(
        self,
        session: aiohttp.ClientSession,
        kind: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> Received | None:
        """None if there was no answer, which is noted. Without a body it is a GET."""
        method, url = "GET" if body is None else "POST", f"{self._site.proxy.url}{path}"
        try:
            async with session.request(method, url, data=body, headers=headers) as response:
                return await read(response)
        except TimeoutError:
            story = f"no whole answer within {_ANSWER_SECONDS:.0f} s"
        except (aiohttp.ClientError, OSError) as exc:
            story = f"no answer: {exc!r}"
        self._ledger.note(kind, Outcome.BROKEN, story)
        return None

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._site.tls, limit=1),
            timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS),
            skip_auto_headers=("Content-Type",),
        )


async def read(response: aiohttp.ClientResponse) -> Received:
    """Read an answer as far as it comes."""
    body, whole = bytearray(), True
    try:
        async for piece in response.content.iter_any():
            body += piece
    except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, ConnectionError):
        whole = False
    return Received(response.status, response.headers, bytes(body), whole)
