"""Settings of ingest: topics of other agents and their formats, and what is received by HTTP."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Final

import msgspec

from app.errors import UserError
from topics.formats.entities import EntityRule, TemplateFault, rules_of
from topics.formats.naming import Naming

OURS: Final = ("opsloop.", "__")  # prefixes that a pattern never matches: see agents/_relay.py
_PATTERN: Final = re.compile(r"[A-Za-z0-9._*?-]{1,249}")
_TO_REGEX: Final = {"*": ".*", "?": ".", ".": "[.]"}


class IngestSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Topics that are read besides `opsloop.telemetry.metrics`."""

    topics: dict[str, str] = {}
    """Topic or pattern (`*` any text, `?` a character) → format: one of docs/ingest.md, or of an installed package.
    The first match counts. `auto`: the format is recognised from the first readable message of a topic and
    content type. `mixed`: it is recognised from each message."""
    entities: tuple[EntityRule, ...] = ()
    """Whose measurements are, by templates over their labels; docs/entities.md. The first that applies counts."""


def naming(settings: IngestSettings) -> Naming:
    """What labels say of entities and series by the settings.

    Raises:
        UserError: a template cannot be read, or can never apply.
    """
    try:
        return Naming(rules_of(settings.entities))
    except TemplateFault as fault:
        raise UserError(f"settings: {fault}", fault.remedy) from None


def choose(settings: IngestSettings) -> Callable[[str], str]:
    """Make the function that returns the format of a topic."""

    def chosen(topic: str) -> str:
        return next((f for pattern, f in settings.topics.items() if fnmatch.fnmatchcase(topic, pattern)), "auto")

    return chosen


def patterns(settings: IngestSettings) -> list[str]:
    """The topics as regular expressions for the client.

    Raises:
        UserError: a pattern can match no topic name, or names one of Opsloop's topics.
    """
    for pattern in settings.topics:
        if not _PATTERN.fullmatch(pattern):
            raise UserError(f"[ingest] {pattern!r} is no topic or pattern", "Write letters, digits, . _ - and * or ?")
        if pattern.startswith(OURS):
            raise UserError(f"[ingest] {pattern} is a topic of Opsloop or Kafka", "Publish there directly instead")
    return ["^" + "".join(_TO_REGEX.get(c, c) for c in pattern) + "$" for pattern in settings.topics]


def found(settings: IngestSettings, topics: Iterable[str]) -> dict[str, list[str]]:
    """For each pattern, the topics of the broker that it matches."""
    theirs = [topic for topic in topics if not topic.startswith(OURS)]
    return {pattern: sorted(fnmatch.filter(theirs, pattern)) for pattern in settings.topics}


class ReceiveSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of `opsloop receive`: what it takes at once, and when it asks senders to wait."""

    token: str = ""
    """What senders have to show, or where it is (`file:/run/secrets/receive`). Several are divided by blanks or lines,
    so that a new one can be given out before the old one ends. Empty: loopback addresses need none."""
    body_bytes: Annotated[int, msgspec.Meta(ge=1)] = 8_000_000
    """The largest body of a request as it is sent, in bytes."""
    decoded_bytes: Annotated[int, msgspec.Meta(ge=1)] = 32_000_000
    """The largest body when it is decompressed, in bytes."""
    requests: Annotated[int, msgspec.Meta(ge=1)] = 32
    """Requests that are read or wait for the broker at a time. Further ones are asked to wait."""
    connections: Annotated[int, msgspec.Meta(ge=1)] = 500
    """Connections at a time. Further ones are answered with 503."""
    read_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    """Seconds for which the body of a request is waited for."""
    pending_messages: Annotated[int, msgspec.Meta(ge=1)] = 50_000
    """Messages that the broker has not acknowledged, from which on senders are asked to wait."""
    pending_bytes: Annotated[int, msgspec.Meta(ge=1)] = 64_000_000
    """The same in bytes."""
    lag_s: Annotated[float, msgspec.Meta(gt=0)] = 3.0
    """Seconds without acknowledgement of a message after which senders are asked to wait."""
    deliver_s: Annotated[float, msgspec.Meta(ge=1)] = 10.0
    """Seconds after which a request is answered with 503, because the broker does not have all of it."""
