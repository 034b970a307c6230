"""What agents call the things of a host, and what OpenTelemetry's semantic conventions call them.

The attributes of a convention end the name (`system.cpu.utilization.user`). A counter has `_total` at
its end and becomes a rate (`topics.kinds`); what only ends like one gets another name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

CPU, MEMORY, PAGING, FILES = "system.cpu", "system.memory", "system.paging", "system.filesystem"
NET, DISK, COUNT = "system.network", "system.disk", "system.processes.count"

_TELEGRAF: Final = {
    "cpu.usage_active": (f"{CPU}.utilization", 0.01),
    **{f"cpu.usage_{state}": (f"{CPU}.utilization.{state}", 0.01)
       for state in ("user", "system", "idle", "iowait", "nice", "irq", "softirq", "steal", "guest")},
    "system.load1": (f"{CPU}.load_average.1m", 1.0), "system.load5": (f"{CPU}.load_average.5m", 1.0),
    "system.load15": (f"{CPU}.load_average.15m", 1.0),
    "mem.used": (f"{MEMORY}.usage", 1.0), "mem.used_percent": (f"{MEMORY}.utilization", 0.01),
    "mem.free": (f"{MEMORY}.usage.free", 1.0), "mem.cached": (f"{MEMORY}.usage.cached", 1.0),
    "mem.buffered": (f"{MEMORY}.usage.buffers", 1.0), "mem.available": ("system.linux.memory.available", 1.0),
    "mem.total": (f"{MEMORY}.limit", 1.0),
    "swap.used": (f"{PAGING}.usage", 1.0), "swap.used_percent": (f"{PAGING}.utilization", 0.01),
    "swap.in": (f"{PAGING}.io.in_total", 1.0), "swap.out": (f"{PAGING}.io.out_total", 1.0),
    "disk.used": (f"{FILES}.usage", 1.0), "disk.used_percent": (f"{FILES}.utilization", 0.01),
    "disk.free": (f"{FILES}.usage.free", 1.0),
    "diskio.read_bytes": (f"{DISK}.io.read_total", 1.0), "diskio.write_bytes": (f"{DISK}.io.write_total", 1.0),
    "diskio.reads": (f"{DISK}.operations.read_total", 1.0), "diskio.writes": (f"{DISK}.operations.write_total", 1.0),
    "net.bytes_recv": (f"{NET}.io.receive_total", 1.0), "net.bytes_sent": (f"{NET}.io.transmit_total", 1.0),
    "net.err_in": (f"{NET}.errors.receive_total", 1.0), "net.err_out": (f"{NET}.errors.transmit_total", 1.0),
    "net.drop_in": (f"{NET}.dropped.receive_total", 1.0), "net.drop_out": (f"{NET}.dropped.transmit_total", 1.0),
    **{f"net.packets_{way}": (f"{NET}.packets.{name}_total", 1.0) for way, name in (
        ("recv", "receive"), ("sent", "transmit"))},
    **{f"diskio.{what}": (f"{DISK}.{what}_total", 0.001) for what in ("io_time", "read_time", "write_time")},
    **{f"kernel.{what}": (f"system.kernel.{what}_total", 1.0) for what in (
        "context_switches", "interrupts", "processes_forked")},
    "mem.swap_total": (f"{PAGING}.limit", 1.0), "swap.total": (f"{PAGING}.limit", 1.0),
    "disk.total": (f"{FILES}.limit", 1.0), "disk.inodes_total": (f"{FILES}.inodes.limit", 1.0),
    **{f"mem.{what}_total": (f"system.linux.memory.{what}.limit", 1.0) for what in (
        "vmalloc", "huge_pages", "high", "low")},
    "processes.total": (COUNT, 1.0), "processes.running": (f"{COUNT}.running", 1.0),
}  # fmt: skip

_COLLECTD: Final = {  # write_kafka sends rates of what only grows
    "load.shortterm": (f"{CPU}.load_average.1m", 1.0), "load.midterm": (f"{CPU}.load_average.5m", 1.0),
    "load.longterm": (f"{CPU}.load_average.15m", 1.0),
    **{f"cpu.{unit}{state}": (f"{CPU}.utilization.{name}", 0.01) for unit in ("", "percent.") for state, name in (
        ("user", "user"), ("system", "system"), ("idle", "idle"), ("wait", "iowait"), ("nice", "nice"),
        ("interrupt", "irq"), ("softirq", "softirq"), ("steal", "steal"))},
    "memory.used": (f"{MEMORY}.usage", 1.0), "memory.free": (f"{MEMORY}.usage.free", 1.0),
    "memory.cached": (f"{MEMORY}.usage.cached", 1.0), "memory.buffered": (f"{MEMORY}.usage.buffers", 1.0),
    "memory.percent.used": (f"{MEMORY}.utilization", 0.01),
    "swap.used": (f"{PAGING}.usage", 1.0), "swap.swap_io.in": (f"{PAGING}.io.in", 1.0),
    "swap.swap_io.out": (f"{PAGING}.io.out", 1.0),
    "df.df_complex.used": (f"{FILES}.usage", 1.0), "df.df_complex.free": (f"{FILES}.usage.free", 1.0),
    "df.percent_bytes.used": (f"{FILES}.utilization", 0.01),
    "disk.disk_octets.read": (f"{DISK}.io.read", 1.0), "disk.disk_octets.write": (f"{DISK}.io.write", 1.0),
    "disk.disk_ops.read": (f"{DISK}.operations.read", 1.0), "disk.disk_ops.write": (f"{DISK}.operations.write", 1.0),
    "interface.if_octets.rx": (f"{NET}.io.receive", 1.0), "interface.if_octets.tx": (f"{NET}.io.transmit", 1.0),
    "interface.if_errors.rx": (f"{NET}.errors.receive", 1.0), "interface.if_errors.tx": (f"{NET}.errors.transmit", 1.0),
    "interface.if_dropped.rx": (f"{NET}.dropped.receive", 1.0),
    "interface.if_dropped.tx": (f"{NET}.dropped.transmit", 1.0),
    "processes.ps_state.running": (f"{COUNT}.running", 1.0), "uptime": ("system.uptime", 1.0),
}  # fmt: skip

_METRICBEAT: Final = {
    "system.cpu.total.norm.pct": (f"{CPU}.utilization", 1.0),
    **{f"system.cpu.{state}.norm.pct": (f"{CPU}.utilization.{state}", 1.0)
       for state in ("user", "system", "idle", "iowait", "nice", "irq", "softirq", "steal")},
    **{f"system.load.{minutes}": (f"{CPU}.load_average.{minutes}m", 1.0) for minutes in (1, 5, 15)},
    "system.memory.actual.used.bytes": (f"{MEMORY}.usage", 1.0),
    "system.memory.actual.used.pct": (f"{MEMORY}.utilization", 1.0),
    "system.memory.free": (f"{MEMORY}.usage.free", 1.0), "system.memory.total": (f"{MEMORY}.limit", 1.0),
    "system.memory.swap.used.bytes": (f"{PAGING}.usage", 1.0),
    "system.memory.swap.used.pct": (f"{PAGING}.utilization", 1.0),
    "system.filesystem.used.bytes": (f"{FILES}.usage", 1.0),
    "system.filesystem.used.pct": (f"{FILES}.utilization", 1.0),
    "system.diskio.read.bytes": (f"{DISK}.io.read_total", 1.0),
    "system.diskio.write.bytes": (f"{DISK}.io.write_total", 1.0),
    "system.network.in.bytes": (f"{NET}.io.receive_total", 1.0),
    "system.network.out.bytes": (f"{NET}.io.transmit_total", 1.0),
    "system.network.in.errors": (f"{NET}.errors.receive_total", 1.0),
    "system.network.out.errors": (f"{NET}.errors.transmit_total", 1.0),
    "system.uptime.duration.ms": ("system.uptime", 0.001),
}  # fmt: skip

_FLUENT_BIT: Final = {  # Mem. and Swap. are in KiB
    "cpu_p": (f"{CPU}.utilization", 0.01), "user_p": (f"{CPU}.utilization.user", 0.01),
    "system_p": (f"{CPU}.utilization.system", 0.01),
    "Mem.used": (f"{MEMORY}.usage", 1024.0), "Mem.free": (f"{MEMORY}.usage.free", 1024.0),
    "Mem.total": (f"{MEMORY}.limit", 1024.0), "Swap.used": (f"{PAGING}.usage", 1024.0),
}  # fmt: skip

# Vector's host_metrics. Those of node_exporter, after which they are named, keep Prometheus' names, which packs know
_VECTOR: Final = {
    "load1": (f"{CPU}.load_average.1m", 1.0), "load5": (f"{CPU}.load_average.5m", 1.0),
    "load15": (f"{CPU}.load_average.15m", 1.0), "cpu_seconds_total": (f"{CPU}.time_total", 1.0),
    "memory_available_bytes": ("system.linux.memory.available", 1.0),
    "memory_used_bytes": (f"{MEMORY}.usage", 1.0), "memory_total_bytes": (f"{MEMORY}.limit", 1.0),
    "memory_free_bytes": (f"{MEMORY}.usage.free", 1.0), "memory_swap_used_bytes": (f"{PAGING}.usage", 1.0),
    "filesystem_used_bytes": (f"{FILES}.usage", 1.0), "filesystem_used_ratio": (f"{FILES}.utilization", 1.0),
    "filesystem_free_bytes": (f"{FILES}.usage.free", 1.0),
    "disk_read_bytes_total": (f"{DISK}.io.read_total", 1.0),
    "disk_written_bytes_total": (f"{DISK}.io.write_total", 1.0),
    "network_receive_bytes_total": (f"{NET}.io.receive_total", 1.0),
    "network_transmit_bytes_total": (f"{NET}.io.transmit_total", 1.0),
    "network_receive_errs_total": (f"{NET}.errors.receive_total", 1.0),
    "network_transmit_errs_total": (f"{NET}.errors.transmit_total", 1.0),
    "uptime": ("system.uptime", 1.0),
}  # fmt: skip

# (what the agent calls it, its OpenTelemetry name, factor to the unit of that name)
ALIASES: Final[Mapping[str, tuple[str, float]]] = {
    **_TELEGRAF, **_COLLECTD, **_METRICBEAT, **_FLUENT_BIT,
    **{f"host.{name}": known for name, known in _VECTOR.items()},
}  # fmt: skip
