"""The running totals of a recorder as metrics of Prometheus and OpenTelemetry, with a bounded number of models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from mme_sdk._validation import check_number
from mme_sdk.errors import MissingExtraError
from mme_sdk.recording.recorder import Recorder

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from prometheus_client import CollectorRegistry

__all__ = ["export_opentelemetry", "export_prometheus"]

OTHERS = "others"
# Name, unit, description, and the value of a cell.
METRICS: tuple[tuple[str, str, str, Callable[[Any], float]], ...] = (
    ("calls", "{call}", "Calls, failed ones included", lambda cell: cell.calls),
    ("errors", "{call}", "Calls that failed", lambda cell: sum(cell.errors.values())),
    ("cold_calls", "{call}", "Calls that waited while their model was loading", lambda cell: cell.cold),
    ("cold_seconds", "s", "Seconds of these calls", lambda cell: cell.cold_seconds),
    ("warm_seconds", "s", "Seconds of the other answered calls", lambda cell: cell.warm_seconds),
    ("throttles", "{request}", "Requests that SageMaker throttled", lambda cell: cell.throttles),
    ("sent_bytes", "By", "Bytes of the payloads", lambda cell: cell.sent_bytes),
    ("received_bytes", "By", "Bytes of the answers", lambda cell: cell.received_bytes),
)


class _Labels:
    """Totals under a bounded number of model labels.

    A model keeps its label once it has one. What it was called before stays under `others`, so that no total decreases.
    """

    def __init__(self, recorder: Recorder, models: int) -> None:
        check_number("models", models, at_least=0, integer=True)
        self._recorder, self._models = recorder, models
        self._labelled: dict[Any, list[float]] = {}  # the totals of each model when it got its label
        self._seen: set[Any] = set()

    def read(self) -> list[tuple[dict[str, str], list[float]]]:
        """Return the labels and the values of `METRICS`, of each series."""
        totals = {key: [value(cell) for *_, value in METRICS] for key, cell in self._recorder.totals().items()}
        nothing = [0.0] * len(METRICS)
        for key, values in sorted(totals.items(), key=lambda item: item[1][0], reverse=True):
            if key[1] is not None and key not in self._labelled and len(self._labelled) < self._models:
                self._labelled[key] = values if key in self._seen else nothing
        self._seen = set(totals)
        found: dict[tuple[str, str, str], list[float]] = {}
        for key, values in totals.items():
            endpoint, model, variant = key[0], key[1], key[2] or "none"
            unlabelled = values
            if key in self._labelled:
                unlabelled = self._labelled[key]
                found[endpoint, str(model), variant] = [a - b for a, b in zip(values, unlabelled, strict=True)]
            others = found.get((endpoint, OTHERS, variant), nothing)
            found[endpoint, OTHERS, variant] = [a + b for a, b in zip(unlabelled, others, strict=True)]
        names = ("endpoint", "model", "variant")
        return [(dict(zip(names, label, strict=True)), values) for label, values in found.items()]


def export_prometheus(recorder: Recorder, registry: CollectorRegistry | None = None, *, models: int = 50) -> None:
    """Let Prometheus read the totals of a recorder: `mme_recorded_calls_total` and others, by endpoint, model, variant.

    Args:
        recorder: The recorder.
        registry: Where to register. Default: None, the default registry of prometheus_client.
        models: Number of models with a label of their own, those with the most calls first. The others share the label
            `others`. Default: 50.

    Raises:
        MissingExtraError: prometheus-client is not installed.
        InvalidInputError: `models` is negative.

    Example:
        ```python
        recorder = Recorder()
        export_prometheus(recorder)
        client = MMEClient(hooks=[recorder])
        ```
    """
    try:
        from prometheus_client import REGISTRY
        from prometheus_client.core import CounterMetricFamily
        from prometheus_client.registry import Collector
    except ImportError as error:
        raise MissingExtraError(
            "export_prometheus() needs prometheus-client", hint="pip install 'mme-sdk[prometheus]'"
        ) from error
    labels = _Labels(recorder, models)

    class Totals(Collector):
        def collect(self) -> Iterable[Any]:
            rows = labels.read()
            for place, (name, _, text, _) in enumerate(METRICS):
                family = CounterMetricFamily(f"mme_recorded_{name}", text, labels=("endpoint", "model", "variant"))
                for attributes, values in rows:
                    family.add_metric(list(attributes.values()), values[place])
                yield family

        def describe(self) -> Iterable[Any]:
            return ()

    (REGISTRY if registry is None else registry).register(Totals())


def export_opentelemetry(recorder: Recorder, meter_provider: MeterProvider | None = None, *, models: int = 50) -> None:
    """Let OpenTelemetry read the totals of a recorder: `mme.recorded.calls` and others, by endpoint, model and variant.

    Args:
        recorder: The recorder.
        meter_provider: Where to register. Default: None, the global provider.
        models: As in `export_prometheus`. Default: 50.

    Raises:
        MissingExtraError: opentelemetry-api is not installed.
        InvalidInputError: `models` is negative.

    Example:
        ```python
        export_opentelemetry(recorder)
        ```
    """
    try:
        from opentelemetry import metrics
    except ImportError as error:
        raise MissingExtraError(
            "export_opentelemetry() needs OpenTelemetry", hint="pip install 'mme-sdk[otel]'"
        ) from error
    labels, meter = _Labels(recorder, models), metrics.get_meter("mme_sdk", meter_provider=meter_provider)

    def reader(place: int) -> Any:
        def read(_: Any) -> Iterable[Any]:
            return [metrics.Observation(values[place], attributes) for attributes, values in labels.read()]

        return read

    for place, (name, unit, text, _) in enumerate(METRICS):
        meter.create_observable_counter(f"mme.recorded.{name}", [reader(place)], unit=unit, description=text)
