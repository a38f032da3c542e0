"""``sagemaker-proxy models``: what clients may name, as a table."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.catalog import Catalog
from proxy.columns import format_rows
from proxy.config import Config
from proxy.credentials import Aws
from proxy.errors import ProxyError
from proxy.keys import Caller
from proxy.models import Model, Models

_HEADINGS = ("MODEL", "KIND", "STATUS", "DIALECT", "INSTANCE TYPE", "ENDPOINT")


class ModelsUnknown(Exception):
    """The models cannot be listed."""


async def list_models(config: Config, caller: Caller) -> list[Model]:
    """The models that ``caller`` may call, asked for now. Raises ``ModelsUnknown``."""
    catalog = Catalog(Aws(config.region).control_plane, config.catalog)
    models = Models(catalog, config.models, config.catalog.include, config.catalog.exclude)
    try:
        await catalog.descriptions()
        return [model for model in await models.all() if caller.may_call(model.name)]
    except ProxyError as exc:
        raise ModelsUnknown(catalog.problem or exc.message) from exc
    finally:
        await catalog.stop()


def format_table(models: Iterable[Model]) -> str:
    """The models, a line each, below headings."""
    return format_rows(_HEADINGS, [_row(model) for model in models])


def _row(model: Model) -> tuple[str, ...]:
    return (
        model.name,
        model.kind,
        model.status or "-",
        model.dialect or "-",
        model.instance_type or "-",
        model.endpoint,
    )
