"""Puts together what a worker's handlers work with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from proxy.catalog import Catalog
from proxy.config import Config, LimitsConfig, TracesConfig
from proxy.constraints import LOCAL
from proxy.counts import Counts, HostCounts
from proxy.credentials import Aws, CredentialsProvider
from proxy.exposition import Exposition
from proxy.figures import Figures
from proxy.guesses import Guesses
from proxy.handlers.services import Services, WorkerState
from proxy.keys import KeyRing
from proxy.limits import Limits
from proxy.metric_files import MetricFiles
from proxy.metrics import Metrics
from proxy.models import Models
from proxy.objects import Objects
from proxy.sagemaker import SageMaker
from proxy.sealing import Seal
from proxy.signing import Signer
from proxy.windows import Windows

if TYPE_CHECKING:
    from proxy.traces import Traces


def make_services(
    config: Config,
    keys: KeyRing,
    aws: Aws,
    windows: Windows,
    shared: Path,
    column: int,
    counted: MetricFiles,
    certificate_expires: float | None,
    seal: Seal | None,
) -> Services:
    """Make them, not started yet, inside a running loop.

    ``windows``, the figures and the metrics, which ``counted`` holds, are in the folder
    ``shared``, of which ``column`` is this worker's.
    """
    credentials = CredentialsProvider(aws)
    catalog = Catalog(aws.control_plane, config.catalog)
    models = Models(catalog, config.models, config.catalog.include, config.catalog.exclude)
    metrics = Metrics(models.knows, counted)
    traces = _traces(config.traces)
    return Services(
        config=config,
        keys=keys,
        guesses=Guesses(),
        limits=Limits(
            config.limits,
            windows,
            _counts(config.limits, windows),
            keys.callers().values(),
            metrics,
        ),
        credentials=credentials,
        catalog=catalog,
        models=models,
        sagemaker=SageMaker(
            aws.runtime_url,
            aws.ssl_context,
            Signer(aws.region, aws.signing_name),
            credentials,
            config.upstream,
            metrics,
            catalog.is_starting,
            traces,
        ),
        objects=Objects(aws.storage, credentials),
        seal=seal,
        metrics=metrics,
        figures=Figures(shared, column, models.knows),
        exposition=Exposition(counted),
        traces=traces,
        certificate_expires=certificate_expires,
        state=WorkerState(),
    )


def _counts(config: LimitsConfig, windows: Windows) -> Counts:
    """Where the limits of the keys are counted."""
    if config.backend == LOCAL:
        return HostCounts(windows)
    from proxy.valkey_counts import ValkeyCounts  # its library, which nothing else needs

    return ValkeyCounts(config.backend, windows, opens=config.without_backend == "open")


def _traces(config: TracesConfig) -> Traces | None:
    if not config.otlp_endpoint:
        return None
    from proxy.traces import Traces  # its library, which nothing else needs

    return Traces(config.otlp_endpoint, config.sample_ratio)
