"""State: snapshots of agents, each with the input offsets that are in it."""

from __future__ import annotations

from typing import Final

from topics.spec import Count, Record, Topic

PACKED: Final = b"application/vnd.msgpack"


GENERATIONS: Final = 3  # of changes whose records have keys of their own


class Snapshot(Record, frozen=True):
    """The state of one agent on one partition, or what changed in it, or a part of either, with the offsets in it.

    A new owner of a partition writes with a higher epoch than it has read, so a late record of an earlier owner never
    holds. On the lane the complete snapshot with the highest (epoch, seq) holds. On the loop whole states (`index` 0)
    and changes form lines: changes `seq` follow the record `seq - 1` that was written in the epoch `follows`; a whole
    state stands for everything up to its `seq`, of which the last was written in the epoch `follows`.
    """

    agent: str
    partition: Count
    applied: dict[str, int]  # next offset to read, by topic; of changes those that moved
    state: memoryview  # of what was read, without a copy
    checksum: str  # BLAKE2b of everything else
    epoch: Count = 0
    seq: Count = 0
    part: Count = 0
    parts: Count = 1
    generation: Count = 0  # on the loop: of the whole state that comes before, or that this is; 0: on the lane
    index: Count = 0  # of changes within their generation, from 1
    follows: Count = 0


def _key(snapshot: Snapshot) -> str:
    """The key of a snapshot. Keys take turns, so that compaction keeps what was before the newest as well."""
    if snapshot.generation:
        return f"{snapshot.agent}/{snapshot.generation % GENERATIONS}/{snapshot.index}/{snapshot.part}"
    return f"{snapshot.agent}/{snapshot.seq % 2}/{snapshot.part}"


OTHER_VERSION: Final = (
    "the kept {what} of the lane are not of version {version}, the only one that this worker reads: delete the topic"
    " opsloop.state.lane to let them be learned anew, or run the worker that wrote them"
)

LANE_STATE = Topic(
    "opsloop.state.lane", Snapshot, key=_key, what="snapshots of the learners on the lane", compact=True,
    cloudevents=False, max_message_bytes=11_000_000, packed=True, reads_next=False, content_type=PACKED,
)  # fmt: skip
LOOP_STATE = Topic(
    "opsloop.state.loop", Snapshot, key=_key, what="snapshots of the agents of the loop", compact=True, reread=True,
    cloudevents=False, max_message_bytes=11_000_000, packed=True, reads_next=False, content_type=PACKED,
)  # fmt: skip
