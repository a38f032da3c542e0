"""Objects are read piece by piece, so many at a time, and what is left is let go."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from proxy.credentials import CredentialsProvider
from proxy.errors import (
    CredentialsRefused,
    DeadlineExceeded,
    ProxyError,
    Unavailable,
    UpstreamFailed,
)
from proxy.locations import Location
from proxy.objects import Objects
from proxy.signing import Credentials

WHERE = Location("bucket", "folder/key")
MOST = 64


class Body:
    """What GetObject's answer has: bytes, a piece at a time, until it fails or is closed."""

    def __init__(self, data: bytes, failure: Exception | None = None) -> None:
        self.sizes: list[int] = []
        self.closed = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.reading = threading.Event()
        self._data = data
        self._failure = failure

    def read(self, size: int) -> bytes:
        assert threading.current_thread() is not threading.main_thread()
        assert not self.closed.is_set()
        self.reading.set()
        assert self.go_on.wait(10)
        self.sizes.append(size)
        piece, self._data = self._data[:size], self._data[size:]
        if self._failure and not piece:
            raise self._failure
        return piece

    def close(self) -> None:
        assert threading.current_thread() is not threading.main_thread()
        self.closed.set()


class Storage:
    """A boto3 client that answers what it is told to, in turn; the last for ever."""

    def __init__(self, *answers: Body | Exception) -> None:
        self._answers = list(answers)
        self.calls: list[dict[str, Any]] = []
        self.called = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def get_object(self, **parameters: Any) -> dict[str, Any]:
        self.calls.append(parameters)
        self.called.set()
        assert self.go_on.wait(10)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return {"Body": answer, "ContentType": "text/csv", "ContentLength": len(answer._data)}

    put_object = get_object


class Provider:
    """The credentials, and those that replace them."""

    def __init__(self, *others: Credentials) -> None:
        self.current: Credentials | None = Credentials("AK", "first")
        self.problem = "none found"
        self._others = list(others)

    async def replace(self, refused: Credentials) -> bool:
        assert refused == self.current
        if self._others:
            self.current = self._others.pop(0)
        return self.current != refused


Make = Callable[..., Objects]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Objects] = []

    def objects(storage: Any, provider: Provider | None = None) -> Objects:
        factory = storage if callable(storage) else lambda: storage
        made.append(Objects(factory, cast(CredentialsProvider, provider or Provider())))
        return made[-1]

    yield objects
    for each in made:
        each.close()


def refusal(status: int, code: str, message: str = "said") -> ClientError:
    answer = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, "GetObject")


async def read(objects: Objects) -> list[bytes]:
    found = await objects.get(WHERE)
    assert found is not None
    async with found:
        return [piece async for piece in found.pieces()]


async def until_free(objects: Objects, slots: int = MOST) -> None:
    """Wait until so many objects may be opened."""
    async with asyncio.timeout(5):
        while objects._slots._value < slots:
            await asyncio.sleep(0.01)


async def test_it_is_read_in_bounded_pieces_in_threads_and_closed(make: Make) -> None:
    body = Body(b"x" * 600_000)
    storage = Storage(body)
    objects = make(storage)
    assert list(map(len, await read(objects))) == [262_144, 262_144, 75_712]
    assert set(body.sizes) == {262_144}
    assert storage.calls == [{"Bucket": "bucket", "Key": "folder/key"}]
    await until_free(objects)
    assert body.closed.is_set()


async def test_its_type_and_length_are_told(make: Make) -> None:
    found = await make(Storage(Body(b"12345"))).get(WHERE)
    assert found is not None
    async with found:
        assert (found.content_type, found.length) == ("text/csv", 5)


async def test_what_is_not_there_is_none_and_takes_no_place(make: Make) -> None:
    objects = make(Storage(refusal(404, "NoSuchKey")))
    for _ in range(MOST + 1):
        assert await objects.get(WHERE) is None


async def test_it_is_put_with_its_type(make: Make) -> None:
    storage = Storage(Body(b""))
    objects = make(storage)
    await objects.put(WHERE, b"input", "text/csv")
    assert storage.calls == [
        {"Bucket": "bucket", "Key": "folder/key", "Body": b"input", "ContentType": "text/csv"}
    ]
    await until_free(objects)


async def test_over_the_bound_one_is_told_to_come_again(make: Make) -> None:
    objects = make(Storage(Body(b"x")))
    opened = [await objects.get(WHERE) for _ in range(MOST)]
    for attempt in (objects.get(WHERE), objects.put(WHERE, b"", "text/csv")):
        with pytest.raises(Unavailable, match="64") as caught:
            await attempt
        assert caught.value.headers == {"Retry-After": "1"}
    assert opened[0] is not None
    async with opened[0]:
        pass
    await until_free(objects, 1)
    assert await objects.get(WHERE)


async def test_a_reader_that_leaves_in_the_middle_of_a_piece_lets_go_when_the_thread_has_it(
    make: Make,
) -> None:
    body = Body(b"x")
    body.go_on.clear()
    objects = make(Storage(body))
    task = asyncio.create_task(read(objects))
    await asyncio.to_thread(body.reading.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not body.closed.is_set(), "a thread still reads"
    body.go_on.set()
    await until_free(objects)
    assert body.closed.is_set()


async def test_one_that_leaves_before_there_is_an_answer_lets_go_of_it(make: Make) -> None:
    body = Body(b"x")
    storage = Storage(body)
    storage.go_on.clear()
    objects = make(storage)
    task = asyncio.create_task(objects.get(WHERE))
    await asyncio.to_thread(storage.called.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert objects._slots._value == MOST - 1
    storage.go_on.set()
    await until_free(objects)
    assert body.closed.is_set()


async def test_one_that_leaves_before_a_thread_was_free_leaves_nothing(make: Make) -> None:
    storage = Storage(Body(b"x"))
    storage.go_on.clear()
    objects = make(storage)
    tasks = [asyncio.create_task(objects.get(WHERE)) for _ in range(MOST)]
    await asyncio.to_thread(storage.called.wait, 5)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    storage.go_on.set()
    await until_free(objects)
    assert len(storage.calls) <= 16


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidToken", "InvalidAccessKeyId"])
async def test_credentials_that_have_ended_are_replaced_once(make: Make, code: str) -> None:
    storage = Storage(refusal(400, code), Body(b"x"))
    assert await read(make(storage, Provider(Credentials("AK", "second")))) == [b"x"]


@pytest.mark.parametrize("others", [0, 3])
async def test_when_others_are_refused_too_it_is_the_operators_matter(
    make: Make, others: int
) -> None:
    storage = Storage(refusal(400, "ExpiredToken", "it has expired"))
    provider = Provider(*(Credentials("AK", str(number)) for number in range(others)))
    objects = make(storage, provider)
    with pytest.raises(CredentialsRefused) as caught:
        await objects.get(WHERE)
    assert len(storage.calls) == (2 if others else 1)
    assert "it has expired" in str(caught.value.log_message)
    await until_free(objects)


@pytest.mark.parametrize("way", ["none are current", "none are found"])
async def test_without_credentials_the_reason_is_in_the_log(make: Make, way: str) -> None:
    def none_found() -> Any:
        raise NoCredentialsError

    provider = Provider()
    if way == "none are current":
        provider.current = None
    objects = make(none_found, provider)
    with pytest.raises(CredentialsRefused, match="no valid AWS credentials"):
        await objects.get(WHERE)
    await until_free(objects)


@pytest.mark.parametrize(
    ("failure", "error", "log"),
    [
        (refusal(403, "AccessDenied"), CredentialsRefused, "lacks the IAM action s3:GetObject"),
        (refusal(403, "AccessDenied"), CredentialsRefused, "s3:ListBucket on the bucket bucket"),
        (refusal(404, "NoSuchBucket"), UpstreamFailed, "404 to s3:GetObject on s3://bucket/"),
        (refusal(503, "SlowDown"), Unavailable, "SlowDown: said"),
        (refusal(500, "InternalError"), UpstreamFailed, "InternalError"),
        (EndpointConnectionError(endpoint_url="u"), UpstreamFailed, "EndpointConnectionError"),
        (ReadTimeoutError(endpoint_url="u"), DeadlineExceeded, "ReadTimeoutError"),
    ],
)
async def test_what_s3_refuses_is_told_without_its_details(
    make: Make, failure: Exception, error: type[ProxyError], log: str
) -> None:
    objects = make(Storage(failure))
    with pytest.raises(error) as caught:
        await objects.get(WHERE)
    assert log in str(caught.value.log_message)
    assert "bucket/" not in caught.value.message
    await until_free(objects)


async def test_a_missing_right_to_put_is_told_as_such(make: Make) -> None:
    objects = make(Storage(refusal(403, "AccessDenied")))
    with pytest.raises(CredentialsRefused) as caught:
        await objects.put(WHERE, b"", "text/csv")
    told = str(caught.value.log_message)
    assert "s3:PutObject on s3://bucket/folder/key" in told
    assert "s3:ListBucket" not in told
    await until_free(objects)


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (ResponseStreamingError(error="gone"), UpstreamFailed),
        (ReadTimeoutError(endpoint_url="u"), DeadlineExceeded),
    ],
)
async def test_one_that_breaks_off_is_told_and_let_go(
    make: Make, failure: Exception, error: type[ProxyError]
) -> None:
    body = Body(b"half", failure)
    objects = make(Storage(body))
    with pytest.raises(error):
        await read(objects)
    await until_free(objects)
    assert body.closed.is_set()


async def test_while_threads_wait_the_loop_goes_on(make: Make) -> None:
    storage = Storage(Body(b"x"))
    storage.go_on.clear()
    objects = make(storage)
    task = asyncio.create_task(objects.get(WHERE))
    await asyncio.to_thread(storage.called.wait, 5)
    ticked = SimpleNamespace(times=0)
    for _ in range(10):
        await asyncio.sleep(0)
        ticked.times += 1
    assert not task.done()
    storage.go_on.set()
    assert await task
