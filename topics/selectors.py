"""Which series a pattern of a pack means.

A series is a name, or a name with attributes as `requests_total{code="500",route="/"}`; its rate per second is scored
as `requests.rate{…}`, and meant by `rate(requests_total{…})`. A pattern is written alike: its name and its attributes'
values are globs, attributes that it does not name may be anything, and it says `rate(…)` where it means a rate. An
underscore in a name is as good as a dot: Prometheus writes `http.server.utilization` as `http_server_utilization`.
"""

from __future__ import annotations

import functools
import re
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

_ATTRIBUTE: Final = re.compile(r'\s*([^"=,{}\s][^"=,{}]*?)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')


RATE: Final = ".rate"  # at the end of the name of a counter's rate, where the counter has `_total`
_COUNTS: Final = (RATE, "_total", "_count")


class Series(NamedTuple):
    """The parts of a series' name, or of a pattern."""

    rate: bool
    name: str
    attributes: tuple[tuple[str, str], ...]


def _counted(name: str) -> str:
    """What a rate is the rate of, without the ending that says so."""
    return next((name.removesuffix(ending) for ending in _COUNTS if name.endswith(ending)), name)


@functools.lru_cache(maxsize=100_000)
def parts(text: str) -> Series:
    """The parts of a series' name or of a pattern. Attributes that cannot be read are left out, all of them."""
    wrapped = text.startswith("rate(") and text.endswith(")")
    inner = text[5:-1] if wrapped else text
    name, brace, rest = inner.partition("{")
    rate = wrapped or name.endswith(RATE)
    name = _counted(name) if rate else name
    if not brace or not rest.endswith("}"):
        return Series(rate, _counted(inner) if rate else inner, ())
    found, at, body = [], 0, rest[:-1]
    while at < len(body):
        one = _ATTRIBUTE.match(body, at)
        if one is None:
            return Series(rate, name, ())
        found.append((one[1], one[2]))
        at = one.end()
    return Series(rate, name, tuple(found))


@functools.lru_cache(maxsize=100_000)
def dotted(name: str) -> str:
    """A name with dots for underscores."""
    return name.replace("_", ".")


def matches(pattern: str, series: str) -> bool:
    """Whether a pattern means a series."""
    if pattern == series:
        return True
    wanted, given = parts(pattern), parts(series)
    if wanted.rate != given.rate or not fnmatchcase(dotted(given.name), dotted(wanted.name)):
        return False
    known = dict(given.attributes)
    return all(name in known and fnmatchcase(known[name], value) for name, value in wanted.attributes)
