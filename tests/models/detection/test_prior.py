"""What names say of series: whole names and units at their ends, and nothing else."""

from __future__ import annotations

import pytest

from models.detection.prior import (
    AVAILABILITY,
    DURATION,
    GROWING,
    MEASURES,
    MEMORY,
    QUEUE,
    RATIO,
    REFUSED,
    RESERVED,
    UNITS,
    UNKNOWN,
    UP,
    UTILIZATION,
    Prior,
    prior,
)  # fmt: skip

SECONDS, BYTES = UNITS["seconds"], UNITS["bytes"]

KNOWN: dict[Prior, tuple[str, ...]] = {
    UP: (
        "up", 'up{job="x",instance="y"}', "pg_up", 'pg_up{server="db:5432"}', "pg.up", "redis_up", "mysql_up",
        "nginx_up", "probe_success", "memcached_up", "haproxy_up", "apache_up", "phpfpm_up", "consul_up",
        "rabbitmq_up", "mongodb_up", "pgbouncer_up",
    ),
    REFUSED: ("up.refused", 'up.refused{host="a"}'),
    UTILIZATION: (
        "system.cpu.utilization", "system.cpu.utilization.user", "system.cpu.utilization.cpu0.idle",
        "system_cpu_utilization", "system.memory.utilization", "system.filesystem.utilization",
        "process.cpu.utilization", 'process.cpu.utilization{cpu_mode="user"}', "nodejs.eventloop.utilization",
        "jvm.cpu.recent_utilization",
    ),
    MEMORY: (
        "system.memory.usage", "system.memory.usage.free", 'system.memory.usage{state="used"}',
        "process.memory.usage", "jvm.memory.used", "jvm.memory.used.G1 Eden Space.heap",
        'jvm_memory_used_bytes{area="heap"}', "process_resident_memory_bytes", "process.resident.memory.bytes",
        "container_memory_working_set_bytes", "redis_memory_used_bytes", "system.linux.memory.available",
    ),
    RESERVED: (
        "process_virtual_memory_bytes", "process.memory.virtual", "jvm.memory.committed",
        'jvm_memory_committed{area="heap"}', "system.memory.limit",
    ),
    DURATION: (
        "http.server.request.duration", "http.server.request.duration.GET.200",
        "http.server.request.duration.p95", 'http_request_duration_seconds{quantile="0.99"}',
        "http.request.duration.seconds.p99", "probe_duration_seconds",
        'http_server_requests_seconds{quantile="0.5"}', "db.client.operation.duration",
        "rpc.server.call.duration",
    ),
    RATIO: (
        "http.client.error_ratio.store", "node_filesystem_used_ratio", 'cache_hit_ratio{up="1"}',
        "job.errors.ratio", "system_cpu_utilization_ratio",
    ),
    QUEUE: ("rabbitmq_queue_messages_ready", 'otelcol_exporter_queue_size{exporter="otlp"}'),
    SECONDS: (
        "node_time_seconds", "process_start_time_seconds", "redis_uptime_in_seconds", "service_up_seconds",
        "kube_pod_start_time_seconds", 'node_scrape_collector_duration_seconds{collector="cpu"}',
        "pg_up_seconds", "node.boot.time.seconds", "pg_replication_lag_seconds", "start_up_duration_seconds",
    ),
    BYTES: (
        "node_memory_MemAvailable_bytes", "node.memory.MemFree.bytes", "pg_database_size_bytes",
        "node_network_mtu_bytes", "http_response_size_bytes", 'node_filesystem_avail_bytes{mountpoint="/up"}',
        "go_memstats_alloc_bytes", "queue_memory_limit_bytes",
    ),
}  # fmt: skip

NOTHING: dict[str, tuple[str, ...]] = {
    "words within a name": (
        "scale_up_events", "service_up", "start_up", "startup", "up_time", "up.time", "up.eth0", "link_up",
        "memory_pressure_events", "queue_up_position", "upstream_connect", "backup_duration_note",
        "start_up.count", "node_network_up", "x.up", "job:up", "job:up:sum_without", "requests_refused",
        "connection.refused", "up.refused.retries", "tcp.up.refused", "nginx_upstream_up",
        "haproxy_server_up_since", "pg_up_since", "probe_success_note", "mysql_up_alerts", "memory", "latency",
        "queue", "duration", "bytes", "seconds", "_bytes", ".ratio", "ratio_of_golden", "request_latency",
        "latency_budget", "duration_estimate", "bytes_per_packet", "queue_length", "utilization_target",
        "cpu_utilization_alerts_fired", "process_memory_usage_alarms", "http_server_utilization_limit",
    ),
    "counters": (
        "scale_up_events_total", "up_total", "up.total", "up_count", "http_requests_total",
        'http_requests_total{status="500"}', "http_request_duration_seconds_sum",
        "http_request_duration_seconds_count", 'http_request_duration_seconds_bucket{le="0.5"}',
        "http.request.duration.seconds.sum.rate", "http_request_duration_seconds.count.GET",
        "http.server.request.duration.count", "http.server.request.duration.sum.GET", "node_cpu_seconds_total",
        'node_cpu_seconds_total{mode="idle"}', "node_disk_read_bytes_total", "node_network_receive_bytes_total",
        "process_cpu_seconds_total", "pg_stat_database_blk_read_time_total",
        "redis_commands_duration_seconds_total", "system.disk.io.read.total", "node.network.receive.bytes.rate",
        "container_memory_failures_total", "kube_pod_container_status_restarts_total",
        "process.memory.usage.total",
    ),
    "text of labels": (
        'events{state="up"}', 'events{kind="memory.usage",unit="x_bytes"}',
        'x{le="0.5",name="system.cpu.utilization"}',
        'kube_node_status_condition{condition="MemoryPressure",status="true"}', 'jobs{queue="up"}',
        'x{a="}_ratio"}', '{__name__="up"}', 'x{y="up',
    ),
    "exporters": (
        "node_load1", "node_procs_running", "node_systemd_unit_state", "node_pressure_memory_waiting",
        "pg_stat_activity_count", "pg_settings_work_mem", "pg_locks_count", "redis_connected_clients",
        "redis_mem_fragmentation", "redis_blocked_clients", "nginx_connections_active",
        "nginx_connections_waiting", "kube_deployment_status_replicas_unavailable", "kube_pod_status_phase",
        "kube_statefulset_status_replicas_ready", "go_goroutines", "mysql_global_status_queries",
    ),
    "OpenTelemetry": (
        "system.cpu.time", "system.cpu.load_average.1m", "system.network.io", "system.processes.count",
        "process.uptime", "http.server.active_requests", "db.client.connection.count", "jvm.thread.count",
        "messaging.client.sent.messages", "system.memory", "system.cpu", "http.server.request.body.size",
    ),
    "StatsD": (
        "app.backup.duration.upper_90", "stats.timers.checkout.latency.mean_90",
        "gunicorn.request.duration.p95", "web.memory.warnings", "queue.up.position", "deploy.scale.up",
        "auth.refused", "cache.bytes.per.key", "airflow.dag.ratio.ok",
    ),
    "camel case": (
        "CPUUtilization", "FreeableMemory", "ReadLatency", "NetworkIn", "VolumeReadBytes", "StatusCheckFailed",
        "DiskQueueDepth", "AWS/EC2.CPUUtilization", "AWS/SQS.ApproximateNumberOfMessagesVisible",
        "HeapMemoryUsage.used", "queueUp", "isUp", "Up", "java.lang:type=Memory.HeapMemoryUsage",
        "kafka.server:type=BrokerTopicMetrics,name=BytesInPerSec", "TargetResponseTime",
        "kafka.network.RequestQueueSize", "UpTime", "memoryBytes", "errorRatio", "requestDurationSeconds",
    ),
    "no name": ("", ".", "_", "{", "{}", "..", "total"),
}  # fmt: skip


@pytest.mark.parametrize(("metric", "known"), [(metric, known) for known, found in KNOWN.items() for metric in found])
def test_whole_names_and_units_are_known(metric: str, known: Prior) -> None:
    assert prior(metric) == known


@pytest.mark.parametrize("metric", [metric for found in NOTHING.values() for metric in found])
def test_of_other_names_nothing_is_known(metric: str) -> None:
    assert prior(metric) == UNKNOWN


@pytest.mark.parametrize("known", [*AVAILABILITY, *MEASURES])
def test_a_known_name_within_another_teaches_nothing(known: str) -> None:
    """But a unit that ends the other does."""
    for name in (known, known.replace(".", "_")):
        unit = UNITS.get(known.rpartition(".")[2], UNKNOWN)
        assert prior(f"my_{name}") == prior(f"my.{name}") == unit
        assert prior(f"{known.replace('.', '_')}_events") == prior(f'events{{of="{name}"}}') == UNKNOWN
        for end in GROWING:
            assert prior(f"{name}_{end}") == prior(f'{name}.{end}{{x="y"}}') == UNKNOWN


def test_only_of_availability_it_is_known_where_it_is() -> None:
    """And no unit says so, so that nothing else is scored from its first value on."""
    assert all(known.mean in (0.0, 1.0) for known in AVAILABILITY.values())
    assert not any(known.mean == known.mean for known in (*MEASURES.values(), *UNITS.values()))


def test_the_tables_are_written_with_dots() -> None:
    assert not [name for name in (*AVAILABILITY, *MEASURES, *UNITS) if "_" in name]
    assert not AVAILABILITY.keys() & MEASURES.keys()


def test_memory_that_is_reserved_has_the_small_differences_of_memory_and_is_not_trusted_alone() -> None:
    assert RESERVED.peak == MEMORY.peak
    assert (RESERVED.trust, MEMORY.trust) == (0.0, 1.5)
