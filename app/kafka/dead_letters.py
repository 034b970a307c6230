"""What was refused: found, shown, sent once more to where it came from, and deleted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaException, TopicPartition

from app.errors import UserError
from app.kafka.broker import Broker, admin, read_all
from app.kafka.publisher import Publisher
from topics.catalog import ALL
from topics.relayed import HEADER
from topics.spec import Instant, Raw, Topic, derive, integer
from topics.state import LANE_STATE, LOOP_STATE
from topics.telemetry import METRICS

MARK: Final = "replayed_from"  # the header of a message that was sent again: the id of its dead letter
TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_OURS: Final = frozenset({"dlq_cause", "dlq_detail", "dlq_origin", MARK, HEADER})  # sent again it is no repeat


@dataclass(frozen=True, slots=True)
class Letter:
    """One refused message. `id` is derived from the place it was read from: refused twice, it is still one letter."""

    id: str
    topic: str  # that it was read from
    cause: str
    detail: str
    origin: str
    again: str  # the letter that it was sent again from, when it was refused again
    raw: Raw  # as it stands on the dead-letter topic

    @classmethod
    def of(cls, raw: Raw) -> Letter:
        """The letter in a message of a dead-letter topic; headers that somebody else wrote are read as text."""
        said = {name: value.decode(errors="replace") for name, value in raw.headers if name in _OURS}
        origin = said.get("dlq_origin") or str(raw.origin)
        return cls(
            derive("dead-letter", origin), _read_from(raw.topic.removesuffix(".dlq"), origin),
            said.get("dlq_cause", "unknown"), said.get("dlq_detail", ""), origin, said.get(MARK, ""), raw,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did: letters sent now, and those that had been sent before."""

    sent: Sequence[Letter]
    before: Sequence[Letter]


def letters(broker: Broker, topics: Iterable[Topic] = (), cause: str = "") -> list[Letter]:
    """Every letter of `topics` (none: of all) with `cause` (empty: any), oldest first, each once."""
    names = [topic.dlq for topic in topics or _buried()]
    found: dict[str, Letter] = {}
    for raw in read_all(broker, names):
        letter = Letter.of(raw)
        if not cause or letter.cause == cause:
            found.setdefault(letter.id, letter)
    return sorted(found.values(), key=lambda letter: (letter.raw.arrived, letter.id))


def one(broker: Broker, start: str) -> Letter:
    """The letter whose id begins with `start`. Raises UserError when none does, or several."""
    found = [letter for letter in letters(broker) if letter.id.startswith(start)]
    if len(found) != 1:
        what = f"{len(found)} dead letters begin" if found else "no dead letter begins"
        raise UserError(f"{what} with {start!r}", "See opsloop dead-letters list", exit_code=1)
    return found[0]


def replay(broker: Broker, chosen: Sequence[Letter]) -> Replayed:
    """Send letters to the topics they came from, each at most once however often this is called.

    A message that was sent again carries the id of its letter, and the topic itself is asked which are there already:
    there is no other memory that a crash between the two could leave wrong.
    """
    known = _sent_before(broker, chosen)
    sending = [letter for letter in chosen if letter.id not in known]
    with Publisher(broker) as publisher:
        for letter in sending:
            headers = [(name, value) for name, value in letter.raw.headers if name not in _OURS]
            publisher.send_raw(
                letter.topic, letter.raw.key, letter.raw.value, [*headers, (MARK, letter.id.encode())], _place(letter)
            )
    return Replayed(sending, [letter for letter in chosen if letter.id in known])


def purge(broker: Broker, topics: Iterable[Topic] = ()) -> int:
    """Delete what stands on the dead-letter topics now; how many messages. Raises UserError."""
    ends: dict[tuple[str, int], int] = {}
    count = 0
    for raw in read_all(broker, [topic.dlq for topic in topics or _buried()]):
        ends[raw.topic, raw.partition] = raw.offset + 1
        count += 1
    if not ends:
        return 0
    client = admin(broker)
    try:
        places = [TopicPartition(topic, partition, end) for (topic, partition), end in ends.items()]
        for future in client.delete_records(places).values():
            future.result(30)
    except KafkaException as error:
        raise UserError(f"the broker deletes nothing ({error.args[0].str()})", "Ask for the right to DELETE") from None
    return count


def _read_from(dlq: str, origin: str) -> str:
    """Where a letter was read from: beside its shelf, or a topic of another agent that has no shelf of its own.

    A header may be anybody's: it never names one of our own topics, which commands and votes stand on.
    """
    named = origin.rsplit("-", 2)[0]
    foreign = dlq == METRICS.name and TOPIC.fullmatch(named) and not named.startswith(("opsloop.", "__"))
    return named if foreign else dlq


def _buried() -> Iterator[Topic]:
    return (topic for topic in ALL if topic not in (LANE_STATE, LOOP_STATE))


def _place(letter: Letter) -> int | None:
    """The partition that it was read from: where its key belongs, or where somebody put it."""
    _, _, rest = letter.origin.partition(f"{letter.topic}-")
    partition, _, _ = rest.partition("-")
    return integer(partition)


def _sent_before(broker: Broker, chosen: Sequence[Letter]) -> set[str]:
    """Which of the letters stand on their topics again."""
    known: set[str] = set()
    since: dict[str, Instant] = {}
    for letter in chosen:
        since[letter.topic] = min(since.get(letter.topic, letter.raw.arrived), letter.raw.arrived)
    for topic, arrived in since.items():
        for raw in read_all(broker, [topic], since_ms=arrived):
            known.update(value.decode(errors="replace") for name, value in raw.headers if name == MARK)
    return known
