"""Topics that other agents publish to: which they are, and what they hold."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from app.errors import UserError

OURS: Final = ("opsloop.", "__")  # what a pattern never finds: see agents/_relay.py
_PATTERN: Final = re.compile(r"[A-Za-z0-9._*?-]{1,249}")
_TO_REGEX: Final = {"*": ".*", "?": ".", ".": "[.]"}


class IngestSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is taken beside `opsloop.telemetry.metrics`."""

    topics: dict[str, str] = {}
    """Topic or pattern (`*` any text, `?` one character) → format: one of docs/ingest.md, or of an installed package.
    The first pattern that fits counts. `auto`: the format is recognised from the first readable message of a topic and
    content type. `mixed`: it is recognised from each message."""


def choose(settings: IngestSettings) -> Callable[[str], str]:
    """The format of a topic."""

    def chosen(topic: str) -> str:
        return next((f for pattern, f in settings.topics.items() if fnmatch.fnmatchcase(topic, pattern)), "auto")

    return chosen


def patterns(settings: IngestSettings) -> list[str]:
    """Regular expressions of the topics, in the words of the client.

    Raises:
        UserError: a pattern could never be a topic's, or is one of our own topics.
    """
    for pattern in settings.topics:
        if not _PATTERN.fullmatch(pattern):
            raise UserError(f"[ingest] {pattern!r} is no topic or pattern", "Write letters, digits, . _ - and * or ?")
        if pattern.startswith(OURS):
            raise UserError(f"[ingest] {pattern} is a topic of Opsloop or Kafka", "Publish there directly instead")
    return ["^" + "".join(_TO_REGEX.get(c, c) for c in pattern) + "$" for pattern in settings.topics]


def found(settings: IngestSettings, topics: Iterable[str]) -> dict[str, list[str]]:
    """By pattern, which of the broker's topics are taken because of it."""
    theirs = [topic for topic in topics if not topic.startswith(OURS)]
    return {pattern: sorted(fnmatch.filter(theirs, pattern)) for pattern in settings.topics}
