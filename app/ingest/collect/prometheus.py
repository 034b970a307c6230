"""Reads Prometheus' text format. Series are called as by other ways in: `topics.formats.prometheus`.

A line that is not of the format is refused alone. Values that are not finite say nothing, and are passed over.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from topics.codec import DecodeError
from topics.formats.native import fault_of_metric
from topics.formats.prometheus import kind_of, named

MAX_SERIES: Final = 1_900  # of one target; its entity may have 2,000, with `up` and figures of histograms
MOST_REMEMBERED: Final = 10 * MAX_SERIES  # series whose labels were read before
_TYPE: Final = re.compile(r"#\s*TYPE\s+(\S+)\s+(\w+)")
_UNTYPED: Final = ("untyped", "unknown")


@dataclass
class Scrape:
    """What one scrape says."""

    metrics: dict[str, float] = field(default_factory=dict)
    bad: int = 0  # lines that are not of the format
    why: str = ""  # the first of them is not
    left_out: int = 0  # series beyond MAX_SERIES


class Exposition:
    """Reads the scrapes of one target, and remembers what its series are called."""

    def __init__(self) -> None:
        self._types: dict[str, str] = {}
        self._metrics: dict[str, str] = {}  # series as it is written → metric
        self._kept: dict[str, float] = {}  # what the scrape before gave

    def read(self, text: str) -> Scrape:
        """The metrics of a scrape. Beyond MAX_SERIES, those stay that were there before.

        Raises:
            ValueError: no line is in Prometheus' format, and some are not.
        """
        found = Scrape()
        for line in text.split("\n"):
            if line.startswith("#"):
                self._comment(line)
            elif line.strip():
                self._line(line, found)
        if found.bad and not found.metrics:
            raise ValueError(f"not Prometheus' text format: {found.why}")
        if len(found.metrics) > MAX_SERIES:
            order = sorted(found.metrics, key=lambda name: name not in self._kept)
            found.left_out = len(order) - MAX_SERIES
            found.metrics = {name: found.metrics[name] for name in order[:MAX_SERIES]}
        self._kept = found.metrics
        return found

    def _comment(self, line: str) -> None:
        said = _TYPE.match(line)
        if said and self._types.get(said[1]) != said[2]:
            self._types[said[1]] = said[2]
            self._metrics.clear()

    def _line(self, line: str, found: Scrape) -> None:
        try:
            series, value = _parts(line)
            metric = self._metrics.get(series)
            if metric is None:
                if len(self._metrics) >= MOST_REMEMBERED:
                    self._metrics.clear()
                metric = self._metrics[series] = self._name(series)
            if math.isfinite(value) and metric:
                if fault := fault_of_metric(metric, value):
                    raise fault
                found.metrics[metric] = value
        except (ValueError, DecodeError) as error:
            found.bad += 1
            found.why = found.why or f"{error} in {line[:80]!r}"

    def _name(self, series: str) -> str:
        """The metric that a series is; empty: when a counter began, which says nothing. Raises ValueError."""
        series.encode()  # what was no UTF-8 is no text
        name, labels = _series(series)
        began = name.removesuffix("_created")
        if began != name and not {began, f"{began}_total"}.isdisjoint(self._types):
            return ""
        kind = kind_of(name, self._types)
        return named(name, labels, "" if kind in _UNTYPED else kind)


def _parts(line: str) -> tuple[str, float]:
    """A series and its value; a stamp after it does not count. Raises ValueError."""
    at = line.rfind("}") + 1 or len(line) - len(line.lstrip()) + len(line.split(None, 1)[0])
    rest = line[at:].split()
    if not 1 <= len(rest) <= 2 or "_" in rest[0]:
        raise ValueError("a series has a value, and perhaps a time")
    return line[:at], float(rest[0])


def _series(text: str) -> tuple[str, dict[str, str]]:
    """The name and the labels of a series, as the library reads them. Raises ValueError."""
    try:
        samples = [one for family in text_string_to_metric_families(f"{text} 0\n") for one in family.samples]
    except IndexError:
        raise ValueError("the labels cannot be read") from None
    if len(samples) != 1:
        raise ValueError("a series has a name")
    return samples[0].name, samples[0].labels
