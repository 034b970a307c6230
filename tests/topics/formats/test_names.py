"""What nine agents call the things of a host, under the names of OpenTelemetry."""

from __future__ import annotations

import re

import pytest

from topics.formats.aliases import ALIASES
from topics.formats.names import instant, metric

CPU, LOAD, MEMORY = "system.cpu.utilization", "system.cpu.load_average.1m", "system.memory.usage"


@pytest.mark.parametrize(
    ("name", "labels", "value", "wanted"),
    [
        ("cpu.usage_active", {"cpu": "cpu-total"}, 25, (CPU, 0.25)),  # Telegraf, as JSON and in line protocol
        ("cpu.usage_idle", {"cpu": "cpu3"}, 50, (f'{CPU}.idle{{cpu="cpu3"}}', 0.5)),
        ("system.load1", {}, 2, (LOAD, 2)), ("mem.used", {}, 7, (MEMORY, 7)),
        ("load.shortterm", {}, 2, (LOAD, 2)), ("memory.used", {}, 7, (MEMORY, 7)),  # collectd
        ("cpu.wait", {"instance": "3"}, 50, (f'{CPU}.iowait{{instance="3"}}', 0.5)),
        ("cpu.percent.user", {"instance": "3"}, 50, (f'{CPU}.user{{instance="3"}}', 0.5)),
        ("system.cpu.total.norm.pct", {}, 0.25, (CPU, 0.25)), ("system.load.1", {}, 2, (LOAD, 2)),  # Metricbeat
        ("system.memory.actual.used.bytes", {}, 7, (MEMORY, 7)),
        ("cpu_p", {}, 25, (CPU, 0.25)), ("Mem.used", {}, 2, (MEMORY, 2048)),  # Fluent Bit
        ("node_load1", {}, 2, ("node_load1", 2)),  # Prometheus' names stay, whoever sends them
        ("host.load1", {}, 2, (LOAD, 2)), ("host.memory_used_bytes", {}, 7, (MEMORY, 7)),  # Vector
        (CPU, {"cpu": "cpu0", "state": "user"}, 0.5, (f'{CPU}{{cpu="cpu0",state="user"}}', 0.5)),
        ("my.own", {"b": "2", "a": "1"}, 7, ('my.own{a="1",b="2"}', 7)),
    ],
)  # fmt: skip
def test_a_metric_of_each_agent_has_its_name_and_unit(
    name: str, labels: dict[str, str], value: float, wanted: tuple[str, float]
) -> None:
    known, converted = metric(name, value, labels)
    assert known == wanted[0]
    assert converted == pytest.approx(wanted[1])


def test_the_table_leads_to_names_of_the_conventions_in_one_step_and_counters_say_that_they_are() -> None:
    for name, (known, factor) in ALIASES.items():
        assert re.fullmatch(r"system(\.[a-z0-9_]+)+", known), name
        assert ALIASES.get(known, (known, 1.0)) == (known, 1.0), f"{name} would be renamed twice"
        assert factor in (1.0, 0.01, 0.001, 1024.0)
        assert not (name.endswith("bytes_total") and not known.endswith("_total")), name


@pytest.mark.parametrize(
    "given", [1_717_000_000, 1_717_000_000.0, 1_717_000_000_000, 1_717_000_000_000_000, 1_717_000_000_000_000_000,
              "1717000000", "2024-05-29T16:26:40Z", "2024-05-29T18:26:40.000000000+02:00", "2024-05-29T16:26:40"],
)  # fmt: skip
def test_a_time_is_understood_in_every_unit_that_agents_use(given: object) -> None:
    assert instant(given) == 1_717_000_000_000


@pytest.mark.parametrize("given", [None, True, [], "yesterday", float("nan"), float("inf"), "2024-13-01"])
def test_what_is_no_time_is_an_error(given: object) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)):
        instant(given)
