"""Figures for Prometheus, over HTTP on loopback."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from nodepkg.errors import RefusedError, ToolError

try:
    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ModuleNotFoundError as missing:
    raise ToolError("figures are served with prometheus-client", hint="pip install 'nodepkg[agent]'") from missing

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Figure:
    """A metric: its values by the values of its labels. `counter`: it only grows, and `_total` is added to its name."""

    name: str
    meaning: str
    labels: tuple[str, ...]
    values: Iterable[tuple[tuple[str, ...], float]]
    counter: bool = False


class _Figures(Collector):
    def __init__(self, figures: Callable[[], Iterable[Figure]]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        for figure in self._figures():
            kind = CounterMetricFamily if figure.counter else GaugeMetricFamily
            family = kind(figure.name, figure.meaning, labels=figure.labels)
            for labels, value in figure.values:
                family.add_metric(list(labels), value)
            yield family


def serve(port: int, figures: Callable[[], Iterable[Figure]]) -> None:
    """Serves what `figures` gives at each question, from a thread. Raises RefusedError if the port cannot be had."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(figures))
    try:
        start_http_server(port, addr=LOOPBACK, registry=registry)
    except OSError as error:
        raise RefusedError(f"{LOOPBACK}:{port} (--metrics) cannot be listened on: {error.strerror}") from error
