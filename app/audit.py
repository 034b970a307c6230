"""Examining the audit: its chains, the checkpoints over them, and the topics that it must have kept."""

from __future__ import annotations

from collections import defaultdict

import msgspec

from agents.record import Keep
from app.broker import Broker, read_all
from app.story import records
from models.safety.chain import verify, verify_points
from models.safety.signing import Keyring
from topics.audit import AUDIT, CHECKPOINTS, Checkpoint, Entry
from topics.codec import DecodeError, decode
from topics.spec import Instant, Raw

GRACE_MS = 5_000  # what arrived later than this before we look may not be kept yet


class Examined(msgspec.Struct, frozen=True):
    """What an examination found."""

    entries: int
    chains: int
    checkpoints: int
    unsigned: int  # entries that no checkpoint covers yet
    wrong: tuple[str, ...]


def examine(broker: Broker, keyring: Keyring, start: int = 0, *, now: Instant = 0) -> Examined:
    """Everything that is wrong with the audit from entry `start` of each chain on.

    now: when given, records of the other topics that arrived well before it must be in the audit too.
    """
    kept = [r.record for r in records(broker, [AUDIT]) if isinstance(r.record, Entry)]
    points = [r.record for r in records(broker, [CHECKPOINTS]) if isinstance(r.record, Checkpoint)]
    chosen = [entry for entry in kept if entry.seq >= start]
    heads = {entry.chain: entry for entry in kept if start and entry.seq == start - 1}
    wrong = [*verify(chosen, heads), *verify_points(chosen, points, keyring)]
    if now:
        wrong += _left_out(broker, kept, now)
    signed: dict[int, int] = defaultdict(lambda: -1)
    for point in points:
        signed[point.chain] = max(signed[point.chain], point.last)
    unsigned = sum(entry.seq > signed[entry.chain] for entry in chosen)
    return Examined(len(chosen), len({entry.chain for entry in chosen}), len(points), unsigned, tuple(wrong))


def _left_out(broker: Broker, kept: list[Entry], now: Instant) -> list[str]:
    """Records that are on their topics and not in the audit: an audit whose end was cut off tells by this."""
    places = {entry.origin for entry in kept}
    wrong = []
    for raw in read_all(broker, [topic.name for topic in Keep.reads]):
        if str(raw.origin) in places or raw.arrived > now - GRACE_MS or not _readable(raw):
            continue
        wrong.append(f"{raw.origin} was not kept")
    return wrong


def _readable(raw: Raw) -> bool:
    try:
        decode(raw)
    except DecodeError:
        return False  # dead-lettered, with its cause
    return True
