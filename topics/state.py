"""State: snapshots of what the agents have learned, with the offsets that belong to them."""

from __future__ import annotations

from topics.spec import Count, Record, Topic


class Snapshot(Record, frozen=True):
    """The state of one agent on one partition. State and offsets travel together."""

    agent: str
    partition: Count
    applied: dict[str, int]  # next offset to read, by topic
    state: bytes
    checksum: str  # BLAKE2b of the state


def _key(snapshot: Snapshot) -> str:
    return snapshot.agent


LANE_STATE = Topic(
    "opsloop.state.lane", Snapshot, key=_key, what="snapshots of the learners on the lane", compact=True,
    cloudevents=False, max_message_bytes=11_000_000,
)  # fmt: skip
LOOP_STATE = Topic(
    "opsloop.state.loop", Snapshot, key=_key, what="snapshots of the agents of the loop", compact=True,
    cloudevents=False, max_message_bytes=11_000_000,
)  # fmt: skip
