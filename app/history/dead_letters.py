"""Dead letters: messages that were refused. They are listed, read, sent once more to where they came from, deleted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaException, TopicPartition

from app.errors import UserError
from app.history.progress import shown
from app.history.view import BURIED, LetterRow, current
from app.kafka.broker import Broker, admin, read_all
from app.kafka.places import extents, read_places
from app.kafka.publisher import Publisher
from topics.relayed import HEADER
from topics.spec import Instant, Origin, Raw, Topic, integer
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
    place: Origin  # on the dead-letter topic
    arrived: Instant

    @classmethod
    def of(cls, row: LetterRow) -> Letter:
        """The letter that the index tells of."""
        topic = _read_from(row.dlq.removesuffix(".dlq"), row.origin)
        return cls(row.id, topic, row.cause, row.detail, row.origin, row.again, row.place, row.arrived)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did: letters sent now, and those that had been sent before."""

    sent: Sequence[Letter]
    before: Sequence[Letter]


def letters(broker: Broker, topics: Iterable[Topic] = (), cause: str = "", start: str = "") -> list[Letter]:
    """Every letter of `topics` (none: of all) with `cause` (empty: any) whose id begins with `start`, oldest first."""
    names = [topic.dlq for topic in topics or BURIED]
    with current(broker, names, shown()) as view:
        return [Letter.of(row) for row in view.letters(names, cause=cause, start=start)]


def one(broker: Broker, start: str) -> Letter:
    """The letter whose id begins with `start`. Raises UserError when none does, or several."""
    found = letters(broker, start=start)
    if len(found) != 1:
        what = f"{len(found)} dead letters begin" if found else "no dead letter begins"
        raise UserError(f"{what} with {start!r}", "See opsloop dead-letters list", exit_code=1)
    return found[0]


def contents(broker: Broker, chosen: Iterable[Letter]) -> dict[str, Raw]:
    """The messages of letters as they stand on the dead-letter topics, by id; those that are gone are left out."""
    found = list(chosen)
    raws = read_places(broker, [letter.place for letter in found])
    return {letter.id: raws[letter.place] for letter in found if letter.place in raws}


def replay(broker: Broker, chosen: Sequence[Letter]) -> Replayed:
    """Send letters to the topics they came from, each at most once however often this is called.

    A message that was sent again carries the id of its letter, and the topic itself is asked which are there already:
    there is no other memory that a crash between the two could leave wrong.

    Raises:
        UserError: a letter is not on its dead-letter topic any more; nothing is sent.
    """
    known = _sent_before(broker, chosen)
    sending = [letter for letter in chosen if letter.id not in known]
    raws = contents(broker, sending)
    if gone := [letter.id for letter in sending if letter.id not in raws]:
        raise UserError(f"dead letter {gone[0]} is gone from its topic", "See opsloop dead-letters list")
    with Publisher(broker) as publisher:
        for letter in sending:
            raw = raws[letter.id]
            headers = [*((name, value) for name, value in raw.headers if name not in _OURS), (MARK, letter.id.encode())]
            publisher.send_raw(letter.topic, raw.key, raw.value, headers, _partition(letter))
    return Replayed(sending, [letter for letter in chosen if letter.id in known])


def purge(broker: Broker, topics: Iterable[Topic] = ()) -> int:
    """Delete what stands on the dead-letter topics now; how many messages. Raises UserError."""
    held = extents(broker, [topic.dlq for topic in topics or BURIED])
    ends = [TopicPartition(*place, extent.high) for place, extent in held.items() if extent.high > extent.low]
    if not ends:
        return 0
    client = admin(broker)
    try:
        for future in client.delete_records(ends).values():
            future.result(30)
    except KafkaException as error:
        raise UserError(f"the broker deletes nothing ({error.args[0].str()})", "Ask for the right to DELETE") from None
    return sum(extent.high - extent.low for extent in held.values())


def _read_from(dlq: str, origin: str) -> str:
    """Where a letter was read from: the topic of its dead-letter topic, or a topic of another agent that has none.

    A header may be anybody's: it never names one of our own topics, which commands and votes stand on.
    """
    named = origin.rsplit("-", 2)[0]
    foreign = dlq == METRICS.name and TOPIC.fullmatch(named) and not named.startswith(("opsloop.", "__"))
    return named if foreign else dlq


def _partition(letter: Letter) -> int | None:
    """The partition that it was read from: where its key belongs, or where somebody put it."""
    _, _, rest = letter.origin.partition(f"{letter.topic}-")
    partition, _, _ = rest.partition("-")
    return integer(partition)


def _sent_before(broker: Broker, chosen: Sequence[Letter]) -> set[str]:
    """Which of the letters stand on their topics again."""
    known: set[str] = set()
    since: dict[str, Instant] = {}
    for letter in chosen:
        since[letter.topic] = min(since.get(letter.topic, letter.arrived), letter.arrived)
    for topic, arrived in since.items():
        for raw in read_all(broker, [topic], since_ms=arrived):
            known.update(value.decode(errors="replace") for name, value in raw.headers if name == MARK)
    return known
