"""Names and times: what agents call a thing, and what OpenTelemetry calls it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from topics.formats.aliases import ALIASES
from topics.spec import Instant

# labels that name the entity where no template of the settings does; the first that is there counts
HOSTS: Final = ("host", "hostname", "host.name", "instance", "service.instance.id", "service.name", "node", "pod")

WHOLE: Final = (("cpu", "cpu-total"), ("instance", "_Total"))  # labels of what is the host's as a whole
NO_TIME: Final[Instant] = -1  # a sender gave none: it is of when it arrived

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


SYSLOG: Final = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")  # by number
_SEVERITIES: Final[Mapping[str, str]] = {
    "emergency": "emerg", "panic": "emerg", "critical": "crit", "fatal": "crit", "dpanic": "crit", "f": "crit",
    "error": "err", "severe": "err", "failure": "err", "e": "err", "warn": "warning", "w": "warning",
    "note": "notice", "": "info", "information": "info", "informational": "info", "log": "info", "config": "info",
    "system": "info", "i": "info", "trace": "debug", "verbose": "debug", "fine": "debug", "finer": "debug",
    "finest": "debug", "d": "debug",
}  # fmt: skip


def severity_of(text: str) -> str:
    """A severity as syslog names it, from its number there or what others call it; what nobody knows stays as it is."""
    said = text.strip(" \t[]<>()").lower()
    if said.isdecimal():
        return SYSLOG[int(said)] if len(said) == 1 and int(said) < len(SYSLOG) else said
    said = said.rstrip("0123456789")  # ERROR2 of OpenTelemetry, DEBUG5 of PostgreSQL
    return _SEVERITIES.get(said, said)


def metric(name: str, value: float, labels: Mapping[str, Any] | None = None) -> tuple[str, float]:
    """The canonical name of a metric with its labels, and its value in that name's unit."""
    known, factor = ALIASES.get(name, (name, 1.0))
    return labelled(known, labels or {}), value * factor


def labelled(name: str, labels: Mapping[str, Any]) -> str:
    """A name with labels as Prometheus writes them, by name. Two sets of labels are never written alike.

    A label without a value (None) is none.
    """
    said = sorted((label, text_of(value)) for label, value in labels.items() if value is not None)
    inside = ",".join(f'{_escaped(label)}="{_escaped(text)}"' for label, text in said if (label, text) not in WHOLE)
    return f"{name}{{{inside}}}" if inside else name


def text_of(value: object) -> str:
    """A label's value as text: what lists hold with a comma between."""
    if isinstance(value, list | tuple):
        return ",".join(map(text_of, value))
    return "" if value is None else str(value)


def _escaped(text: str) -> str:
    if "\\" in text or '"' in text or "\n" in text:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return text


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


def numbers(fields: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    """The fields that hold numbers; those that hold text say nothing to a detector."""
    for name, value in fields.items():
        if isinstance(value, bool | int | float):
            yield name, float(value)
