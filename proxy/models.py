"""The models that clients name: aliases of the settings, endpoints, and inference components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from proxy.catalog import Catalog
from proxy.config import ModelConfig
from proxy.control_plane import Deployment, Description, InferenceComponent
from proxy.dialects.base import Settings
from proxy.dialects.detection import detect

# Of containers whose dialect is neither configured nor to be told from their image.
DEFAULT_DIALECT = "openai"

_AS_SENT = Settings()

# While it is updated or rolled back, an endpoint serves on.
_SERVING = frozenset({"InService", "Updating", "SystemUpdating", "RollingBack"})


@dataclass(frozen=True, slots=True)
class Target:
    """Where a call goes, and how the container there speaks.

    ``settings.served_model`` is what its body is to name; None leaves the body as the client sent
    it.
    """

    endpoint: str
    component: str = ""
    variant: str = ""
    dialect: str = DEFAULT_DIALECT
    settings: Settings = _AS_SENT
    long_requests: bool = False

    @property
    def name(self) -> str:
        """The name of the deployment."""
        return f"{self.endpoint}/{self.component}" if self.component else self.endpoint


@dataclass(frozen=True, slots=True)
class Model:
    """One model, as it is listed. ``status`` is SageMaker's own; None where nothing is known."""

    name: str
    kind: str  # "alias", "endpoint" or "inference_component"
    endpoint: str
    status: str | None = None
    created: datetime | None = None
    instance_type: str | None = None
    dialect: str | None = None


class Models:
    """Every model, and where a call to it goes."""

    def __init__(
        self,
        catalog: Catalog,
        aliases: Mapping[str, ModelConfig],
        include: Sequence[str] = ("*",),
        exclude: Sequence[str] = (),
    ) -> None:
        """``include`` and ``exclude`` are patterns of deployments; an alias is always there."""
        self._catalog = catalog
        self._aliases = aliases
        self._include = include
        self._exclude = exclude
        self._offers_all = tuple(include) == ("*",) and not exclude
        self._found: dict[str, tuple[Description, Target]] = {}  # of what, by name

    def offers(self, deployment: str) -> bool:
        """Whether the patterns let clients name a deployment themselves.

        Where an endpoint is excluded, so are its inference components.
        """
        if self._offers_all:
            return True
        names = {deployment, deployment.partition("/")[0]}
        return any(fnmatchcase(deployment, pattern) for pattern in self._include) and not any(
            fnmatchcase(name, pattern) for name in names for pattern in self._exclude
        )

    def knows(self, name: str) -> bool:
        """Whether there is a model ``name``, as far as is known."""
        return name in self._aliases or (
            self._catalog.status(name) is not None and self.offers(name)
        )

    async def all(self) -> list[Model]:
        """Every model, by name, in service or not. Raises ``Unavailable``."""
        deployments = {item.name: item for item in await self._catalog.deployments()}
        models = [
            self._deployed(item)
            for item in deployments.values()
            if item.name not in self._aliases and self.offers(item.name)
        ]
        models += [
            self._aliased(name, deployments.get(_deployment_of(alias)))
            for name, alias in self._aliases.items()
        ]
        return sorted(models, key=lambda model: model.name)

    async def find(self, name: str) -> Model | None:
        """The model ``name``. Raises ``Unavailable``."""
        if alias := self._aliases.get(name):
            return self._aliased(name, await self._catalog.find(_deployment_of(alias)))
        deployment = await self._catalog.find(name) if self.offers(name) else None
        return self._deployed(deployment) if deployment else None

    async def targets(self, name: str) -> list[Target]:
        """Where a call to the model ``name`` goes, the best first; empty if there is no such model.

        An alias has its fallbacks after it, and those that serve come before those that do not.
        """
        if alias := self._aliases.get(name):
            names = [name, *alias.fallbacks]
            await self._catalog.until_described(filter(None, map(self._to_detect, names)))
            targets = [self._target(alias), *map(self._fallback, alias.fallbacks)]
            return sorted(targets, key=lambda target: not self._may_serve(target))
        if self.offers(name) and await self._catalog.exists(name):
            await self._catalog.until_described([name])
            return [self._known_deployment(name)]
        return []

    def _known_deployment(self, name: str) -> Target:
        description = self._catalog.description(name)
        found = self._found.get(name)
        if found is None or found[0] is not description:
            found = description, self._deployment(name)
            if description.image is not None:  # else there is any number of such names
                self._found[name] = found
        return found[1]

    def _may_serve(self, target: Target) -> bool:
        status = self._catalog.status(target.name)
        if status is None:  # it may be there all the same
            unknown = not self._catalog.loaded or (target.component and not self._catalog.whole)
            return bool(unknown)
        return status in _SERVING

    def _to_detect(self, name: str) -> str | None:
        """The deployment whose image tells the dialect of ``name``, unless the operator does."""
        alias = self._aliases.get(name)
        if alias is None:
            return name
        return None if alias.dialect else _deployment_of(alias)

    def _fallback(self, name: str) -> Target:
        alias = self._aliases.get(name)
        return self._target(alias) if alias else self._deployment(name, "")

    def _target(self, alias: ModelConfig) -> Target:
        name = _deployment_of(alias)
        return Target(
            alias.endpoint,
            alias.inference_component,
            alias.target_variant,
            alias.dialect or self._dialect(name) or DEFAULT_DIALECT,
            Settings(
                served_model=alias.served_model,
                batch_limit=alias.batch_limit,
                dimensions=alias.dimensions,
                pooling=alias.pooling,
                chat_template=alias.chat_template or None,
            ),
            alias.long_requests,
        )

    def _deployment(self, name: str, model: str | None = None) -> Target:
        """What an alias does not lead to.

        A container refuses a name that it does not serve, and takes none for its own. An endpoint's
        own name is left to the client: its container may serve that very name.
        """
        endpoint, _, component = name.partition("/")
        dialect = self._dialect(name) or DEFAULT_DIALECT
        if component or dialect == "lmi":  # which serves its one model as "lmi"
            model = ""
        settings = Settings(served_model=model)
        return Target(endpoint, component, dialect=dialect, settings=settings)

    def _dialect(self, name: str) -> str | None:
        description = self._catalog.description(name)
        return detect(description.image, description.environment)

    def _deployed(self, deployment: Deployment) -> Model:
        kind = "endpoint"
        endpoint = deployment.name
        if isinstance(deployment, InferenceComponent):
            kind, endpoint = "inference_component", deployment.endpoint
        return self._model(deployment.name, kind, endpoint, deployment)

    def _aliased(self, name: str, deployment: Deployment | None) -> Model:
        return self._model(name, "alias", self._aliases[name].endpoint, deployment)

    def _model(self, name: str, kind: str, endpoint: str, deployment: Deployment | None) -> Model:
        alias = self._aliases.get(name)
        dialect = (alias.dialect if alias else "") or None
        if deployment is None:
            return Model(name, kind, endpoint, dialect=dialect)
        description = self._catalog.description(deployment.name)
        return Model(
            name,
            kind,
            endpoint,
            deployment.status,
            deployment.created,
            # An inference component runs on its endpoint's instances.
            description.instance_type or self._catalog.description(endpoint).instance_type,
            dialect or detect(description.image, description.environment),
        )


def _deployment_of(alias: ModelConfig) -> str:
    component = alias.inference_component
    return f"{alias.endpoint}/{component}" if component else alias.endpoint
