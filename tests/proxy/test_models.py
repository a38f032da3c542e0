"""What clients may name, what it tells of itself, and where a call to it goes."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import cast

from proxy.catalog import Catalog
from proxy.config import ModelConfig
from proxy.control_plane import Deployment, Description, Endpoint, InferenceComponent
from proxy.dialects.base import Settings
from proxy.models import Model, Models, Target

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LLAMA = ModelConfig(endpoint="blue", served_model="meta/llama", fallbacks=("green", "shared/b"))


class Known:
    """A catalogue that knows what it is told."""

    loaded = True
    whole = True

    def __init__(self, *deployments: Deployment) -> None:
        self._known = {deployment.name: deployment for deployment in deployments}
        self.waited_for: list[list[str]] = []

    async def deployments(self) -> list[Deployment]:
        return list(self._known.values())

    async def find(self, name: str) -> Deployment | None:
        return self._known.get(name)

    async def exists(self, name: str) -> bool:
        return name in self._known

    def status(self, name: str) -> str | None:
        known = self._known.get(name)
        return known.status if known else None

    def description(self, name: str) -> Description:
        image = "123.dkr.ecr.us-east-1.amazonaws.com/tei:2.0-gpu" if name == "embedder" else None
        return Description("ml.g5.xlarge" if "/" not in name else None, image)

    async def until_described(self, names: Iterable[str]) -> None:
        self.waited_for.append([*names])


def endpoint(name: str, status: str = "InService") -> Endpoint:
    return Endpoint(name, status, NOW, NOW)


SHARED = (endpoint("shared"), InferenceComponent("b", "shared", "InService", NOW, NOW))


def models(
    *deployments: Deployment, aliases: Mapping[str, ModelConfig] = {}, **patterns: tuple[str, ...]
) -> Models:
    return Models(cast(Catalog, Known(*deployments)), aliases, **patterns)


async def names(models: Models) -> list[str]:
    return [model.name for model in await models.all()]


async def test_all_is_aliases_endpoints_and_components_by_name() -> None:
    known = models(*SHARED, aliases={"llama": ModelConfig(endpoint="shared")})
    assert await known.all() == [
        Model("llama", "alias", "shared", "InService", NOW, "ml.g5.xlarge"),
        Model("shared", "endpoint", "shared", "InService", NOW, "ml.g5.xlarge"),
        Model("shared/b", "inference_component", "shared", "InService", NOW, "ml.g5.xlarge"),
    ]


async def test_an_alias_whose_endpoint_is_not_there_is_listed_without_a_status() -> None:
    known = models(aliases={"llama": LLAMA})
    assert await known.find("llama") == Model("llama", "alias", "blue")


async def test_an_alias_hides_an_endpoint_of_its_name() -> None:
    known = models(endpoint("llama"), endpoint("blue"), aliases={"llama": LLAMA})
    assert await names(known) == ["blue", "llama"]
    assert (await known.targets("llama"))[0].endpoint == "blue"


async def test_patterns_choose_deployments_and_leave_aliases_alone() -> None:
    known = models(
        *SHARED,
        endpoint("payroll"),
        aliases={"llama": ModelConfig(endpoint="payroll")},
        include=("shared*", "pay*"),
        exclude=("pay*",),
    )
    assert await names(known) == ["llama", "shared", "shared/b"]
    assert await known.find("payroll") is None
    assert await known.targets("payroll") == []
    assert await known.targets("llama") == [Target("payroll", settings=Settings(served_model=""))]


async def test_where_an_endpoint_is_excluded_so_are_its_components() -> None:
    known = models(*SHARED, exclude=("shared",))
    assert await names(known) == []
    assert not known.offers("shared/b")


async def test_what_is_known_is_aliases_and_what_is_offered() -> None:
    known = models(*SHARED, endpoint("a"), aliases={"llama": LLAMA}, exclude=("a",))
    names = ("llama", "shared", "shared/b", "a", "blue")
    assert [known.knows(name) for name in names] == [True, True, True, False, False]


async def test_a_deployment_is_its_own_target() -> None:
    known = models(*SHARED)
    assert await known.targets("shared") == [Target("shared")]
    assert await known.targets("shared/b") == [
        Target("shared", "b", settings=Settings(served_model=""))
    ]
    assert await known.targets("shared/c") == []


async def test_an_alias_leads_to_what_it_says_and_then_to_its_fallbacks() -> None:
    aliases = {"llama": LLAMA, "green": ModelConfig(endpoint="green", target_variant="canary")}
    known = models(endpoint("blue"), endpoint("green"), *SHARED, aliases=aliases)
    assert await known.targets("llama") == [
        Target("blue", settings=Settings(served_model="meta/llama")),
        Target("green", variant="canary", settings=Settings(served_model="")),
        Target("shared", "b", settings=Settings(served_model="")),
    ]


async def test_what_is_behind_an_alias_is_waited_for_at_once() -> None:
    known = Known(*SHARED, endpoint("blue"))
    aliases = {"llama": LLAMA, "green": ModelConfig(endpoint="emerald")}
    await Models(cast(Catalog, known), aliases).targets("llama")
    assert known.waited_for == [["blue", "emerald", "shared/b"]]


async def test_what_does_not_serve_comes_last() -> None:
    known = models(
        endpoint("blue", "Creating"), endpoint("green", "Updating"), aliases={"llama": LLAMA}
    )
    targets = await known.targets("llama")
    assert [target.name for target in targets] == ["green", "blue", "shared/b"]


class TestDialect:
    async def test_it_is_told_by_the_image(self) -> None:
        known = models(endpoint("embedder"))
        (target,) = await known.targets("embedder")
        assert target.dialect == "tei"
        assert [model.dialect for model in await known.all()] == ["tei"]

    async def test_what_cannot_be_told_is_taken_for_openais_but_not_said_to_be(self) -> None:
        known = models(endpoint("custom"))
        (target,) = await known.targets("custom")
        assert target.dialect == "openai"
        assert [model.dialect for model in await known.all()] == [None]

    async def test_the_settings_come_first(self) -> None:
        alias = ModelConfig(
            endpoint="embedder",
            dialect="huggingface",
            pooling="cls",
            batch_limit=8,
            dimensions=True,
            chat_template="chatml",
            long_requests=True,
        )
        known = models(endpoint("embedder"), aliases={"mine": alias})
        (target,) = await known.targets("mine")
        assert target == Target(
            "embedder",
            dialect="huggingface",
            settings=Settings("", 8, True, "cls", "chatml"),
            long_requests=True,
        )
        found = await known.find("mine")
        assert found is not None
        assert found.dialect == "huggingface"

    async def test_a_fallback_has_its_own(self) -> None:
        aliases = {"mine": ModelConfig(endpoint="gone", dialect="lmi", fallbacks=("embedder",))}
        found = await models(endpoint("embedder"), aliases=aliases).targets("mine")
        assert [target.dialect for target in found] == ["tei", "lmi"]


async def test_a_component_may_serve_where_components_cannot_be_listed() -> None:
    alias = ModelConfig(endpoint="shared", inference_component="b", fallbacks=("other",))
    catalog = Known(endpoint("shared"), endpoint("other"))
    catalog.whole = False
    known = Models(cast(Catalog, catalog), {"mine": alias})
    assert [target.name for target in await known.targets("mine")] == ["shared/b", "other"]
