"""Measures this host and its processes by psutil. Metrics have the names of OpenTelemetry's semantic conventions.

Shares are in 0..1, sizes in bytes, durations in seconds, and counters become rates per second.
"""

from __future__ import annotations

from typing import Any, Final

import psutil

from app.ingest.collect.rates import Rates
from topics.spec import Instant, integer
from topics.telemetry import Sample

_STATES: Final = ("user", "system", "iowait", "steal")
_SEARCH_MS: Final = 5_000  # ms between searches by name, each of which reads every process of the host


class Host:
    """Measures the host itself."""

    def __init__(self) -> None:
        self._rates = Rates()
        self._cpu: Any = None

    def read(self, now: Instant) -> dict[str, float]:
        """The host's metrics at `now` (ms). The first call returns no rates."""
        metrics: dict[str, float] = {}
        self._read_cpu(metrics)
        self._read_memory(metrics, now)
        self._read_devices(metrics, now)
        return metrics

    def _read_cpu(self, metrics: dict[str, float]) -> None:
        before, self._cpu = self._cpu, psutil.cpu_times()
        if before is not None:
            spent = {name: max(0.0, getattr(self._cpu, name) - getattr(before, name)) for name in before._fields}
            # guest time is already part of user time
            total = sum(seconds for name, seconds in spent.items() if not name.startswith("guest"))
            if total > 0:
                idle = spent["idle"] + spent.get("iowait", 0.0)
                metrics["system.cpu.utilization"] = max(0.0, 1 - idle / total)
                for state in _STATES:
                    if state in spent:
                        metrics[f"system.cpu.utilization.{state}"] = spent[state] / total
        for minutes, load in zip((1, 5, 15), psutil.getloadavg(), strict=True):
            metrics[f"system.cpu.load_average.{minutes}m"] = load

    def _read_memory(self, metrics: dict[str, float], now: Instant) -> None:
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        metrics["system.memory.usage"] = float(memory.total - memory.available)
        metrics["system.memory.utilization"] = 1 - memory.available / memory.total
        metrics["system.paging.usage"] = float(swap.used)
        metrics["system.paging.utilization"] = swap.percent / 100
        self._rates.put(metrics, "system.paging.io.in", swap.sin, now)
        self._rates.put(metrics, "system.paging.io.out", swap.sout, now)

    def _read_devices(self, metrics: dict[str, float], now: Instant) -> None:
        metrics["system.filesystem.utilization"] = psutil.disk_usage("/").percent / 100
        counters: dict[str, float] = {}
        if disk := psutil.disk_io_counters():
            counters |= {
                "system.disk.io.read": disk.read_bytes,
                "system.disk.io.write": disk.write_bytes,
                "system.disk.operations.read": disk.read_count,
                "system.disk.operations.write": disk.write_count,
            }
        cards = [card for name, card in psutil.net_io_counters(pernic=True).items() if name != "lo"]
        counters |= {
            "system.network.io.receive": sum(card.bytes_recv for card in cards),
            "system.network.io.transmit": sum(card.bytes_sent for card in cards),
            "system.network.errors": sum(card.errin + card.errout for card in cards),
            "system.network.dropped": sum(card.dropin + card.dropout for card in cards),
        }
        for name, value in counters.items():
            self._rates.put(metrics, name, value, now)


class Processes:
    """Measures the sum over all processes with one name, or the process with one id."""

    def __init__(self, node: str, wanted: str) -> None:
        self.wanted = wanted
        self.entity = f"{node}/{wanted}"
        self._rates = Rates()
        self._known: list[psutil.Process] = []
        self._searched: Instant | None = None

    def read(self, now: Instant) -> Sample:
        """Their metrics, summed, at `now` (ms). Without any process, `up` is 0 and `up.refused` is 1."""
        sums: dict[str, float] = {}
        count = 0
        for process in self._alive(now):
            try:
                self._add(sums, process, now)
                count += 1
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                self._searched = None  # search again at the next call
        metrics = {"up": float(count > 0), "up.refused": float(count == 0), "process.count": float(count)}
        cpu = sums.pop("process.cpu.time", None)
        metrics |= sums if count else {}
        if cpu is not None:
            self._rates.put(metrics, "process.cpu.utilization", cpu, now)
        return Sample(entity=self.entity, ts=now, metrics=metrics)

    def _alive(self, now: Instant) -> list[psutil.Process]:
        fresh = self._searched is not None and now - self._searched < _SEARCH_MS
        if not fresh or not all(process.is_running() for process in self._known):
            self._searched = now
            self._known = list(self._search())
        return self._known

    def _search(self) -> list[psutil.Process]:
        if (pid := integer(self.wanted, 2**31 - 1)) is not None:
            return [psutil.Process(pid)] if psutil.pid_exists(pid) else []
        return [p for p in psutil.process_iter(["name"]) if p.info["name"] == self.wanted]

    def _add(self, sums: dict[str, float], process: psutil.Process, now: Instant) -> None:
        with process.oneshot():
            cpu, memory = process.cpu_times(), process.memory_info()
            used = {
                "process.cpu.time": cpu.user + cpu.system,
                "process.memory.usage": memory.rss,
                "process.memory.virtual": memory.vms,
                "process.thread.count": process.num_threads(),
                "process.open_file_descriptor.count": process.num_fds(),
                "process.uptime": max(0.0, now / 1000 - process.create_time()),
            }
        for name, value in used.items():
            sums[name] = sums.get(name, 0.0) + value
