"""What a Prometheus server may ask about."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from commands.engine import Engine
from commands.server.admission import Admission
from policy.budget import Meter

SECONDS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)


class Metrics:
    """Counts in a registry of its own, so that several servers in one process do not meet."""

    def __init__(self, engine: Engine, admission: Admission) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "system2_requests", "Requests answered, by path and status (499: the client had gone)",
            ["path", "status"], registry=registry)
        self.queued = Histogram("system2_queue_seconds", "Time that admitted requests had waited", buckets=SECONDS,
                                registry=registry)
        self._seconds = Histogram("system2_thinking_seconds", "Time that requests thought", buckets=SECONDS,
                                  registry=registry)
        self._tokens = Counter("system2_thinking_tokens", "Tokens thought", registry=registry)
        self._simulations = Counter("system2_simulations", "Simulations of all searches", registry=registry)
        for name, text, value in (
            ("system2_thinking", "Requests that think", lambda: admission.thinking),
            ("system2_waiting", "Requests that wait for a place", lambda: admission.waiting),
            ("system2_decoder_rows", "Sequences that decoders work on or keep waiting", lambda: engine.rows),
        ):  # fmt: skip
            Gauge(name, text, registry=registry).set_function(value)

    def thought(self, meter: Meter) -> None:
        """A request has ended, or was left."""
        self._seconds.observe(meter.seconds)
        self._tokens.inc(meter.tokens)
        self._simulations.inc(meter.simulations)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
