"""Figures for Prometheus, over HTTP on loopback. The library is loaded when they are served: most agents serve none."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nodepkg.errors import RefusedError, ToolError

if TYPE_CHECKING:
    from prometheus_client.core import Metric

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Figure:
    """A metric: its values by the values of its labels. `counter`: it only grows, and `_total` is added to its name."""

    name: str
    meaning: str
    labels: tuple[str, ...]
    values: Iterable[tuple[tuple[str, ...], float]]
    counter: bool = False


def serve(port: int, figures: Callable[[], Iterable[Figure]]) -> None:
    """Serves what `figures` gives at each question, from a thread. Raises RefusedError if the port cannot be had."""
    try:
        from prometheus_client import CollectorRegistry, start_http_server
        from prometheus_client.registry import Collector
    except ModuleNotFoundError as missing:
        raise ToolError("figures are served with prometheus-client", hint="pip install 'nodepkg[agent]'") from missing

    class Figures(Collector):
        def collect(self) -> "Iterator[Metric]":
            return map(_metric, figures())

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Figures())
    try:
        start_http_server(port, addr=LOOPBACK, registry=registry)
    except OSError as error:
        raise RefusedError(f"{LOOPBACK}:{port} (--metrics) cannot be listened on: {error.strerror}") from error


def _metric(figure: Figure) -> "Metric":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    kind = CounterMetricFamily if figure.counter else GaugeMetricFamily
    family = kind(figure.name, figure.meaning, labels=figure.labels)
    for labels, value in figure.values:
        family.add_metric(list(labels), value)
    return family
