"""What a Prometheus server reads at `/metrics`."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from dpseg.serve.queue import WorkQueue
from dpseg.serve.results import ResultStore

_SECONDS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 20, 40, 60)


class Metrics:
    """Counters of one application, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "dpseg_http_requests",
            "Answered requests.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._request_seconds = Histogram(
            "dpseg_http_request_seconds",
            "Time from a request's head to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._wait_seconds = Histogram(
            "dpseg_queue_wait_seconds",
            "Time that photos waited for their turn.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._segment_seconds = Histogram(
            "dpseg_segment_seconds",
            "Time that photos took from their turn to their result.",
            buckets=_SECONDS,
            registry=self.registry,
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def run(self, waited: float, ran: float) -> None:
        """Count a photo that was worked on."""
        self._wait_seconds.observe(waited)
        self._segment_seconds.observe(ran)

    def watch(self, queue: WorkQueue, results: ResultStore) -> None:
        """Show the state of the queue and of the kept results."""
        for name, what, read in (
            ("dpseg_queue_waiting", "Photos that wait for their turn.", queue.waiting),
            ("dpseg_queue_running", "Photos that are worked on.", queue.running),
            ("dpseg_kept_results", "Results that can be looked at.", results.__len__),
            ("dpseg_kept_bytes", "Memory of these results.", results.nbytes),
        ):
            Gauge(name, what, registry=self.registry).set_function(read)

    def text(self) -> bytes:
        """Write all metrics in Prometheus's text format."""
        return generate_latest(self.registry)
