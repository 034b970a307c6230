"""State: snapshots of agents, each with the input offsets that are in it."""

from __future__ import annotations

from typing import Final

from topics.spec import Count, Record, Topic

PACKED: Final = b"application/vnd.msgpack"


class Snapshot(Record, frozen=True):
    """The state of one agent on one partition, or one part of it, with the offsets that are in it.

    Of complete snapshots, the one with the highest (epoch, seq) holds. A new owner of a partition writes with a higher
    epoch than it has read, so a late snapshot of an earlier owner never holds.
    """

    agent: str
    partition: Count
    applied: dict[str, int]  # next offset to read, by topic
    state: memoryview  # of what was read, without a copy
    checksum: str  # BLAKE2b of everything else
    epoch: Count = 0
    seq: Count = 0  # counted up by each snapshot; 0: one without a number, as they were before
    part: Count = 0
    parts: Count = 1


def _key(snapshot: Snapshot) -> str:
    """The key of a snapshot. Two keys alternate, so that compaction keeps the one before the newest as well."""
    return f"{snapshot.agent}/{snapshot.seq % 2}/{snapshot.part}" if snapshot.seq else snapshot.agent


LANE_STATE = Topic(
    "opsloop.state.lane", Snapshot, key=_key, what="snapshots of the learners on the lane", compact=True,
    cloudevents=False, max_message_bytes=11_000_000, packed=True, reads_next=False, content_type=PACKED,
)  # fmt: skip
LOOP_STATE = Topic(
    "opsloop.state.loop", Snapshot, key=_key, what="snapshots of the agents of the loop", compact=True, reread=True,
    cloudevents=False, max_message_bytes=11_000_000, packed=True, reads_next=False, content_type=PACKED,
)  # fmt: skip
