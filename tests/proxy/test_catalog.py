"""The catalogue follows the control plane, at a bounded cost, and outlives its failures."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from proxy import catalog as catalog_module
from proxy.catalog import Catalog
from proxy.config import CatalogConfig
from proxy.errors import Unavailable

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC)


class ControlPlane:
    """Answers as the boto3 client does, from a dict, and counts the calls."""

    def __init__(self, *names: str) -> None:
        self.modified = dict.fromkeys(names, NOW)
        self.components: list[str] = []
        self.components_failure: Exception | None = None
        self.describe_failure: Exception | None = None
        self.describe_gate = threading.Event()
        self.describe_gate.set()
        self.instance_type = "ml.g5.xlarge"
        self.calls: list[str] = []
        self.failure: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self) -> "ControlPlane":
        return self

    def get_paginator(self, operation: str) -> "ControlPlane | Components":
        return self if operation == "list_endpoints" else Components(self)

    def _called(self, operation: str) -> None:
        self.calls.append(operation)
        assert self.gate.wait(10)
        if self.failure:
            raise self.failure

    def paginate(self, **_: Any) -> Iterable[dict[str, Any]]:
        self._called("list_endpoints")
        names = list(self.modified)
        for start in range(0, len(names), 2):  # pages of two
            yield {
                "Endpoints": [
                    {
                        "EndpointName": name,
                        "EndpointStatus": "InService",
                        "CreationTime": NOW,
                        "LastModifiedTime": self.modified[name],
                    }
                    for name in names[start : start + 2]
                ]
            }

    def describe_endpoint(self, EndpointName: str) -> dict[str, Any]:  # noqa: N803
        self._called(f"describe {EndpointName}")
        assert self.describe_gate.wait(10)
        if self.describe_failure:
            raise self.describe_failure
        return {"EndpointConfigName": "config"}

    def describe_inference_component(
        self,
        InferenceComponentName: str,  # noqa: N803
    ) -> dict[str, Any]:
        self._called(f"describe {InferenceComponentName}")
        image = {"SpecifiedImage": "vllm:1"}
        return {"Specification": {"Container": {"DeployedImage": image, "Environment": {"A": "b"}}}}

    def describe_endpoint_config(self, EndpointConfigName: str) -> dict[str, Any]:  # noqa: N803
        return {"ProductionVariants": [{"InstanceType": self.instance_type}]}


class Components:
    """The pages of the control plane's inference components, one on each."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._control_plane = control_plane

    def paginate(self, **_options: Any) -> Iterable[dict[str, Any]]:
        if self._control_plane.components_failure:
            raise self._control_plane.components_failure
        for name in self._control_plane.components:
            endpoint, component = name.split("/")
            yield {
                "InferenceComponents": [
                    {
                        "InferenceComponentName": component,
                        "EndpointName": endpoint,
                        "InferenceComponentStatus": "InService",
                        "CreationTime": NOW,
                        "LastModifiedTime": NOW,
                    }
                ]
            }


@asynccontextmanager
async def running(control_plane: ControlPlane, refresh: float = 3600) -> AsyncIterator[Catalog]:
    catalog = Catalog(control_plane, CatalogConfig(refresh_seconds=refresh))
    catalog.start()
    try:
        yield catalog
    finally:
        control_plane.gate.set()
        control_plane.describe_gate.set()
        await catalog.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


def denied() -> ClientError:
    return ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "ListEndpoints")


async def names(catalog: Catalog) -> list[str]:
    return [endpoint.name for endpoint in await catalog.deployments()]


async def test_every_page_is_listed_in_order() -> None:
    async with running(ControlPlane("c", "a", "e", "b", "d")) as catalog:
        assert await names(catalog) == ["a", "b", "c", "d", "e"]
        assert catalog.loaded
        assert catalog.problem is None


async def test_changes_show_after_the_next_refresh() -> None:
    control_plane = ControlPlane("a", "b")
    async with running(control_plane, refresh=0.05) as catalog:
        assert await names(catalog) == ["a", "b"]
        del control_plane.modified["a"]
        control_plane.modified["c"] = NOW
        await until(lambda: "a" not in catalog._deployments)
        assert await names(catalog) == ["b", "c"]


async def test_inference_components_are_listed_and_described_beside_their_endpoints() -> None:
    control_plane = ControlPlane("a", "b")
    control_plane.components = ["b/small", "a/large"]
    async with running(control_plane) as catalog:
        assert await names(catalog) == ["a", "a/large", "b", "b/small"]
        described = {item.name: what for item, what in await catalog.descriptions()}
        assert described["a/large"].image == "vllm:1"
        assert described["a/large"].environment == {"A": "b"}
        assert await catalog.exists("b/small")
        assert not await catalog.exists("b/other")


async def test_without_leave_to_list_components_the_endpoints_are_there_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    control_plane = ControlPlane("a")
    control_plane.components_failure = denied()
    async with running(control_plane, refresh=0.02) as catalog:
        assert await names(catalog) == ["a"]
        assert (catalog.problem, catalog.whole) == (None, False)
        assert await catalog.exists("a/perhaps"), "nobody knows, so SageMaker has to say"
        assert not await catalog.exists("b/perhaps")
        calls = len(control_plane.calls)
        await until(lambda: len(control_plane.calls) > calls + 3)
        assert caplog.messages.count("the catalogue is not whole") == 1
        control_plane.components, control_plane.components_failure = ["a/large"], None
        await until(lambda: catalog.whole)
        assert await names(catalog) == ["a", "a/large"]


async def test_its_age_is_that_of_the_last_list_that_came() -> None:
    control_plane = ControlPlane("a")
    control_plane.failure = OSError("away")
    async with running(control_plane, refresh=0.01) as catalog:
        await until(lambda: catalog.problem is not None)
        assert catalog.age_seconds is None
        control_plane.failure = None
        await until(lambda: catalog.age_seconds is not None)
        control_plane.failure = OSError("away again")
        await until(lambda: catalog.problem is not None)
        age = catalog.age_seconds
        assert age is not None
        await until(lambda: (catalog.age_seconds or 0) > age)


async def test_an_unknown_name_asks_once_for_all_who_wait() -> None:
    control_plane = ControlPlane("a")
    async with running(control_plane) as catalog:
        await names(catalog)
        control_plane.modified["new"] = NOW
        before = control_plane.calls.count("list_endpoints")
        found = await asyncio.gather(*(catalog.exists("new") for _ in range(50)))
        assert found == [True] * 50
        assert control_plane.calls.count("list_endpoints") == before + 1


async def test_a_known_name_asks_nothing() -> None:
    control_plane = ControlPlane("a")
    async with running(control_plane) as catalog:
        await names(catalog)
        before = control_plane.calls.count("list_endpoints")
        assert await catalog.exists("a")
        assert control_plane.calls.count("list_endpoints") == before


async def test_wrong_names_in_a_loop_ask_no_oftener_than_the_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalog_module, "_MISS_INTERVAL_SECONDS", 0.2)
    control_plane = ControlPlane("a")
    async with running(control_plane) as catalog:
        await names(catalog)
        loop = asyncio.get_running_loop()
        before, began = control_plane.calls.count("list_endpoints"), loop.time()
        for number in range(4):
            assert not await catalog.exists(f"wrong-{number}")
        assert loop.time() - began > 0.55
        assert control_plane.calls.count("list_endpoints") == before + 4


async def test_a_name_that_cannot_be_one_asks_nothing() -> None:
    control_plane = ControlPlane("a")
    async with running(control_plane) as catalog:
        await names(catalog)
        before = len(control_plane.calls)
        assert not await catalog.exists("../other")
        assert await catalog.find("../other") is None
        assert len(control_plane.calls) == before


async def test_a_control_plane_that_fails_leaves_the_last_good_list(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    control_plane = ControlPlane("a")
    async with running(control_plane, refresh=0.02) as catalog:
        assert await names(catalog) == ["a"]
        control_plane.failure = denied()
        await until(lambda: catalog.problem is not None)
        calls = len(control_plane.calls)
        await until(lambda: len(control_plane.calls) > calls + 3)
        assert await names(catalog) == ["a"]
        assert caplog.messages.count("the catalogue is stale") == 1
        control_plane.failure = None
        await until(lambda: catalog.problem is None)
        assert "the catalogue is fresh again" in caplog.messages


async def test_an_answer_nobody_foresaw_does_not_end_the_refreshing() -> None:
    control_plane = ControlPlane("a")
    control_plane.failure = KeyError("Endpoints")
    async with running(control_plane, refresh=0.02) as catalog:
        await until(lambda: catalog.problem is not None)
        control_plane.failure = None
        await until(lambda: catalog.loaded)


async def test_while_there_is_no_list_sagemaker_itself_has_to_say() -> None:
    control_plane = ControlPlane()
    control_plane.failure = denied()
    async with running(control_plane) as catalog:
        assert await catalog.exists("perhaps")
        assert not await catalog.exists("not a name")
        await until(lambda: catalog.problem is not None)
        assert await catalog.exists("perhaps")
        with pytest.raises(Unavailable):
            await catalog.deployments()
        with pytest.raises(Unavailable):
            await catalog.find("perhaps")


async def test_a_hanging_control_plane_is_waited_for_within_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalog_module, "_WAIT_SECONDS", 0.1)
    control_plane = ControlPlane("a")
    async with running(control_plane) as catalog:
        await names(catalog)
        control_plane.gate.clear()
        assert await catalog.exists("perhaps"), "nobody knows, so SageMaker has to say"
        assert await catalog.exists("a")


async def test_only_what_is_new_or_changed_is_described() -> None:
    control_plane = ControlPlane("a", "b")

    def described() -> list[str]:
        return sorted(call for call in control_plane.calls if call.startswith("describe"))

    async with running(control_plane, refresh=0.02) as catalog:
        await until(lambda: len(described()) == 2)
        descriptions = await catalog.descriptions()
        assert [item.instance_type for _, item in descriptions] == ["ml.g5.xlarge"] * 2
        control_plane.modified["b"] = LATER
        control_plane.modified["c"] = NOW
        await until(lambda: len(described()) == 4)
        calls = control_plane.calls.count("list_endpoints")
        await until(lambda: control_plane.calls.count("list_endpoints") > calls + 3)
        assert described() == ["describe a", "describe b", "describe b", "describe c"]


async def test_an_endpoint_that_cannot_be_described_is_listed_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    control_plane = ControlPlane("a")
    control_plane.describe_failure = denied()
    async with running(control_plane, refresh=0.02) as catalog:
        ((endpoint, description),) = await catalog.descriptions()
        assert endpoint.name == "a"
        assert (description.image, description.environment) == (None, {})
        await until(lambda: control_plane.calls.count("describe a") > 2)
        assert caplog.messages.count("cannot describe a model") == 1


async def test_what_has_changed_is_known_as_it_was_until_it_has_been_looked_at_again() -> None:
    control_plane = ControlPlane("a")

    def looked() -> int:
        return control_plane.calls.count("describe a")

    async with running(control_plane, refresh=0.02) as catalog:
        await catalog.descriptions()
        control_plane.describe_failure = denied()
        control_plane.modified["a"] = LATER
        calls = looked()
        await until(lambda: looked() > calls + 1)
        assert catalog.description("a").instance_type == "ml.g5.xlarge"
        control_plane.instance_type, control_plane.describe_failure = "ml.g6.xlarge", None
        await until(lambda: catalog.description("a").instance_type == "ml.g6.xlarge")


async def test_only_what_nothing_is_known_of_is_waited_for() -> None:
    control_plane = ControlPlane("a")
    async with running(control_plane, refresh=0.02) as catalog:
        await catalog.descriptions()
        control_plane.describe_gate.clear()
        control_plane.modified |= {"a": LATER, "b": NOW}
        await until(lambda: control_plane.calls.count("describe b") == 1)
        await asyncio.wait_for(catalog.until_described(["a"]), 1)
        waiting = asyncio.create_task(catalog.until_described(["a", "b", "c"]))
        calls = control_plane.calls.count("list_endpoints")
        await until(lambda: control_plane.calls.count("list_endpoints") > calls + 2)
        assert not waiting.done()
        assert control_plane.calls.count("describe b") == 1, "it is under way"
        control_plane.describe_gate.set()
        await waiting
        assert catalog.description("b").instance_type == "ml.g5.xlarge"


async def test_all_that_hang_are_waited_for_together_and_within_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalog_module, "_WAIT_SECONDS", 0.1)
    control_plane = ControlPlane("a", "b", "c")
    control_plane.describe_gate.clear()
    async with running(control_plane) as catalog:
        await names(catalog)
        began = asyncio.get_running_loop().time()
        await catalog.until_described(["a", "b", "c"])
        assert 0.09 < asyncio.get_running_loop().time() - began < 0.25


async def test_who_comes_before_the_first_listing_waits_for_it() -> None:
    control_plane = ControlPlane("a")
    control_plane.gate.clear()
    async with running(control_plane) as catalog:
        waiting = asyncio.create_task(catalog.until_described(["a"]))
        await until(lambda: control_plane.calls == ["list_endpoints"])
        assert not waiting.done()
        control_plane.gate.set()
        await waiting
        assert catalog.description("a").instance_type == "ml.g5.xlarge"


async def test_a_first_listing_that_hangs_is_waited_for_from_the_start_on_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalog_module, "_WAIT_SECONDS", 0.1)
    control_plane = ControlPlane("a")
    control_plane.gate.clear()
    async with running(control_plane) as catalog:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(*(catalog.until_described(["a"]) for _ in range(3)))
        waited = loop.time()
        await catalog.until_described(["a"])
        assert waited - began > 0.09
        assert loop.time() - waited < 0.05
