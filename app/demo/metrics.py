"""Metrics of a replica: gauges over the last second, counters, and their text format.

The replica computes the gauges, so that scrapes at any rate get smooth figures. Names follow OpenTelemetry's
conventions in Prometheus' form (underscores for dots).
"""

from __future__ import annotations

import math
import resource
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

WINDOW_S: Final = 1.0
TICKS: Final = 10  # a second
IDLE_S: Final = 10  # seconds of load over which a replica must be dispensable to be idle
CARRY: Final = 0.7  # the highest utilization of the other replicas, 0..1

# name: (type, help)
METRICS: Final[dict[str, tuple[str, str]]] = {
    "http_server_request_rate": ("gauge", "Requests that came in the last second, per second"),
    "http_server_error_ratio": ("gauge", "Share of the last second's requests that failed by this service's own fault"),
    "http_client_error_ratio": ("gauge", "Share of the last second's calls to a peer that failed or timed out"),
    "http_server_own_duration_p50": ("gauge", "Median seconds of a request without the wait for called services"),
    "http_server_own_duration_p95": ("gauge", "95th percentile of the same"),
    "http_server_duration_p95": ("gauge", "95th percentile of the seconds of a request, all included"),
    "http_server_active_requests": ("gauge", "Requests inside: worked on, queued, or waiting for a called service"),
    "http_server_queued_requests": ("gauge", "Requests that wait for a slot"),
    "http_server_utilization": ("gauge", "Share of the slots that was busy in the last second, 0..1"),
    "http_server_requests_total": ("counter", "Requests that came since the start"),
    "http_server_errors_total": ("counter", "Requests that failed by this service's own fault since the start"),
    "http_client_requests_total": ("counter", "Calls to a peer since the start"),
    "process_memory_usage": ("gauge", "Resident memory in bytes"),
    "process_cpu_utilization": ("gauge", "Share of one core that was used in the last second"),
    "process_uptime": ("gauge", "Seconds since the start"),
    "service_replicas": ("gauge", "Replicas that the service is configured to have"),
    "service_idle_replicas": ("gauge", "1 when the other replicas could carry the last ten seconds' load as well"),
    "service_config_revision": ("gauge", "Revision of the configuration in force"),
}

_PAGE: Final = resource.getpagesize()


class Window:
    """Values of the last second."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque()

    def add(self, value: float) -> None:
        """Add a value at the present time."""
        self._points.append((time.monotonic(), value))
        self.values()

    def values(self) -> list[float]:
        """The values of the last second."""
        horizon = time.monotonic() - WINDOW_S
        while self._points and self._points[0][0] < horizon:
            self._points.popleft()
        return [value for _, value in self._points]


class Held:
    """A percentile of a window. It keeps its value while the window is empty."""

    def __init__(self, window: Window, share: float) -> None:
        self._window, self._share, self._last = window, share, 0.0

    def value(self) -> float:
        """The percentile by nearest rank."""
        values = sorted(self._window.values())
        if values:
            self._last = values[math.ceil(self._share * len(values)) - 1]
        return self._last


class Busy:
    """The share of slots in use, integrated over time in ticks."""

    def __init__(self) -> None:
        self.active = 0
        self._sum = 0.0
        self._since = time.monotonic()
        self._ticks: deque[tuple[float, float]] = deque(maxlen=IDLE_S * TICKS)  # (busy slot-seconds, slot-seconds)
        self._tick_began = self._since

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Count one slot as used within the `with`."""
        self._advance(+1)
        try:
            yield
        finally:
            self._advance(-1)

    def tick(self, slots: int) -> None:
        """End a tick of `slots` slots."""
        self._advance(0)
        self._ticks.append((self._sum, slots * (self._since - self._tick_began)))
        self._sum, self._tick_began = 0.0, self._since

    def value(self, seconds: int = 1) -> float:
        """The share over the last `seconds`, at most IDLE_S."""
        ticks = list(self._ticks)[-seconds * TICKS :]
        offered = sum(slots for _, slots in ticks)
        return min(1.0, sum(busy for busy, _ in ticks) / offered) if offered else 0.0

    def spare(self, replicas: int) -> bool:
        """Whether the other replicas could carry this one's load."""
        seen = len(self._ticks) == self._ticks.maxlen
        return seen and replicas > 1 and self.value(IDLE_S) * replicas / (replicas - 1) < CARRY

    def _advance(self, change: int) -> None:
        now = time.monotonic()
        self._sum += self.active * (now - self._since)
        self.active, self._since = self.active + change, now


class Gauges:
    """All metrics of one replica."""

    def __init__(self, peers: Iterable[str]) -> None:
        self.busy = Busy()
        self.inside = 0
        self.queued = 0
        self.total: Counter[str] = Counter()
        self._arrivals, self._own, self._all, self._failures = Window(), Window(), Window(), Window()
        self._percentiles = {
            "http_server_own_duration_p50": Held(self._own, 0.5),
            "http_server_own_duration_p95": Held(self._own, 0.95),
            "http_server_duration_p95": Held(self._all, 0.95),
        }
        self._calls: dict[str, Window] = defaultdict(Window, {peer: Window() for peer in peers})
        self._began = time.monotonic()
        self._cpu: deque[tuple[float, float]] = deque([(self._began, time.process_time())], maxlen=11)

    def arrived(self) -> None:
        """Count a request that has arrived."""
        self.inside += 1
        self.total["requests"] += 1
        self._arrivals.add(1.0)

    def left(self, own_s: float, all_s: float, failed: bool) -> None:
        """Count a request that was answered."""
        self.inside -= 1
        self.total["errors"] += failed
        self._own.add(own_s)
        self._all.add(all_s)
        self._failures.add(float(failed))

    def called(self, peer: str, ok: bool) -> None:
        """Count a call to another service."""
        self.total[peer] += 1
        self._calls[peer].add(float(not ok))

    def tick(self, slots: int) -> None:
        """Update the gauges. Call this ten times a second."""
        self.busy.tick(slots)
        self._cpu.append((time.monotonic(), time.process_time()))

    def text(self, *, replicas: int, revision: int) -> str:
        """All metrics in the Prometheus text format 0.0.4."""
        uptime = time.monotonic() - self._began
        values: dict[str, float] = {
            "http_server_request_rate": len(self._arrivals.values()) / max(0.2, min(WINDOW_S, uptime)),
            "http_server_error_ratio": _mean(self._failures),
            **{name: held.value() for name, held in self._percentiles.items()},
            "http_server_active_requests": self.inside,
            "http_server_queued_requests": self.queued,
            "http_server_utilization": self.busy.value(),
            "http_server_requests_total": self.total["requests"],
            "http_server_errors_total": self.total["errors"],
            "process_memory_usage": _resident_bytes(),
            "process_cpu_utilization": self._cpu_share(),
            "process_uptime": uptime,
            "service_replicas": replicas,
            "service_idle_replicas": float(self.busy.spare(replicas)),
            "service_config_revision": revision,
        }
        rows = {name: {"": value} for name, value in values.items()}
        for peer, calls in self._calls.items():
            label = f'{{peer="{peer}"}}'
            rows.setdefault("http_client_error_ratio", {})[label] = _mean(calls)
            rows.setdefault("http_client_requests_total", {})[label] = self.total[peer]
        return "".join(_lines(name, rows[name]) for name in METRICS if name in rows)

    def _cpu_share(self) -> float:
        (wall, cpu), (wall_now, cpu_now) = self._cpu[0], self._cpu[-1]
        return (cpu_now - cpu) / (wall_now - wall) if wall_now > wall else 0.0


def _lines(name: str, row: dict[str, float]) -> str:
    kind, what = METRICS[name]
    values = "".join(f"{name}{label} {value:.10g}\n" for label, value in row.items())
    return f"# HELP {name} {what}\n# TYPE {name} {kind}\n{values}"


def _mean(window: Window) -> float:
    values = window.values()
    return sum(values) / len(values) if values else 0.0


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE
