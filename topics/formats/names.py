"""Names and times: what agents call a thing, and what OpenTelemetry calls it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from topics.formats.aliases import ALIASES
from topics.spec import Instant

HOSTS: Final = ("host", "hostname", "host.name", "instance", "service.instance.id", "service.name", "node", "pod")

WHOLE: Final = ("", "cpu-total", "_Total")  # labels of what is the host's as a whole

# epoch in nano-, micro-, milliseconds or seconds: told apart by size
_UNITS: Final = ((1e17, 1e-6), (1e14, 1e-3), (1e11, 1.0), (0.0, 1e3))


class Sampled(NamedTuple):
    """Measurements of one entity at one time."""

    entity: str
    ts: Instant
    metrics: dict[str, float]


class Logged(NamedTuple):
    """A line of a log."""

    entity: str
    ts: Instant
    severity: str  # as syslog names it: emerg, alert, crit, err, warning, notice, info, debug
    text: str


def metric(name: str, value: float, labels: Mapping[str, Any] | None = None) -> tuple[str, float]:
    """The canonical name of a metric and its value in that name's unit; the values of `labels` end the name."""
    known, factor = ALIASES.get(name, (name, 1.0))
    tail = "".join(f".{labels[label]}" for label in sorted(labels) if labels[label] not in WHOLE) if labels else ""
    return (known + tail)[:256], value * factor


def instant(value: object) -> Instant:
    """Milliseconds, from ISO 8601 (any fraction) or an epoch in s, ms, µs or ns. Raises ValueError, TypeError."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return _iso(str(value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no time")
    return round(value * next((factor for least, factor in _UNITS if value >= least), 1.0))  # NaN: a ValueError


def _iso(text: str) -> Instant:
    whole, dot, rest = text.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    at = datetime.fromisoformat(whole + dot + rest[: min(digits, 6)] + rest[digits:])
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def host_of(tags: Mapping[str, Any]) -> str:
    """Whose the measurements are, by the first label that says so; empty when none does."""
    return next((str(tags[name]) for name in HOSTS if tags.get(name)), "")


def others(tags: Mapping[str, Any]) -> dict[str, Any]:
    """The labels that are not the entity."""
    return {name: value for name, value in tags.items() if name not in HOSTS and name != "__name__"}


def numbers(fields: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    """The fields that hold numbers; those that hold text say nothing to a detector."""
    for name, value in fields.items():
        if isinstance(value, bool | int | float):
            yield name, float(value)
