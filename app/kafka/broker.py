"""The broker: configuration of clients, diagnosis when it does not answer, and reading without a group.

All producers place a key on the same partition: librdkafka is set to the murmur2 partitioner of the Java client, which
aiokafka uses too. So one worker owns an entity, in both drivers.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from app.connection import Broker as Broker
from app.errors import UserError
from topics.spec import Instant, Raw, integer

log = logging.getLogger("opsloop.kafka")
log.addHandler(logging.NullHandler())  # librdkafka must never write to the terminal

Config = dict[str, Any]
OnError = Callable[[KafkaError], None]

MAX_MESSAGE_BYTES = 11_000_000  # the largest records are snapshots of learners
STALL_S = 30.0  # seconds without a message after which reading to the end fails
CREATE_TOPICS = "Create the topics with `opsloop topics apply`."
SEE_DOCTOR = "Look at it with `opsloop doctor`."


def _common(broker: Broker, on_error: OnError | None) -> Config:
    return {
        **broker.security,
        "bootstrap.servers": broker.bootstrap,
        "client.id": "opsloop",
        "log_level": 0,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        "error_cb": on_error or _remember,
    }


def _remember(error: KafkaError) -> None:
    log.warning("%s: %s", error.name(), error.str())


def producer_config(broker: Broker, *, compression: str = "", on_error: OnError | None = None) -> Config:
    """Settings of an idempotent producer: a record is acknowledged when every in-sync replica has it; order is kept."""
    config = _common(broker, on_error) | {
        "partitioner": "murmur2_random",
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 5,
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "topic.metadata.propagation.max.ms": 5_000,  # an unknown topic fails after 5 s instead of 30 s
    }
    return config | ({"compression.type": compression} if compression else {})


def consumer_config(broker: Broker, group: str, *, on_error: OnError | None = None) -> Config:
    """Settings of a consumer that commits by itself. Partitions of a dead member are reassigned after six seconds."""
    config = _common(broker, on_error) | {
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 20,
        "fetch.error.backoff.ms": 50,
        "fetch.queue.backoff.ms": 10,  # the default pauses fetching for a second, but a full queue is empty long before
    }
    if broker.group_protocol == "consumer" and not broker.embedded:  # the broker sets the time-outs of this protocol
        return config | {"group.protocol": "consumer"}
    return config | {
        "group.protocol": "classic",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": 6_000,
        "heartbeat.interval.ms": 500,
    }


def admin(broker: Broker) -> AdminClient:
    """A client for administration. Keep it in a variable until its futures are done."""
    return AdminClient(_common(broker, None))


# --- diagnosis --------------------------------------------------------------------------------------------------------

_FINAL = frozenset({"_AUTHENTICATION", "_SSL", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM"})


_NOISE = re.compile(r"^\S+://\S+: | \(after \d+ms in state \w+.*\)")  # the client's address and state


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def about(self, *words: str) -> str:
        return next((line[:200] for line in self.lines if all(word in line for word in words)), "")


def probe(broker: Broker, limit: float = 5.0) -> str | None:
    """None when the broker answers and accepts the credentials, else the cause as text.

    librdkafka by itself retries a wrong password or certificate for ever without an error. This names the cause, most
    often in under a second. `limit` is in seconds.
    """
    if cause := _refused(broker.bootstrap, limit):
        return cause
    causes: list[KafkaError] = []
    lines, logger = _Lines(), logging.Logger("opsloop.kafka.probe", level=logging.DEBUG)
    logger.addHandler(lines)
    try:
        client = AdminClient(_common(broker, causes.append) | {"logger": logger, "log_level": 6})
    except KafkaException as error:  # the client does not know a setting or cannot use its value
        return str(error.args[0].str())
    end = time.monotonic() + limit
    while time.monotonic() < end:
        try:
            client.list_topics(timeout=min(0.4, limit))
            return None
        except KafkaException:
            client.poll(0)
        if cause := _named(causes, lines):
            return cause
    return f"no answer within {limit:g} s" + (f": {_NOISE.sub('', causes[-1].str())}" if causes else "")


def _named(causes: Iterable[KafkaError], lines: _Lines) -> str:
    for error in causes:
        if error.name() in _FINAL or "handshake failed" in error.str():
            return _NOISE.sub("", error.str())
    if lines.about("closed by peer", "APIVERSION_QUERY") or lines.about("Disconnected", "APIVERSION_QUERY"):
        return "it hung up at the first request: do the TLS and SASL settings of client and listener differ?"
    if line := lines.about("alert"):
        return f"TLS alert: {line}"
    return ""


def _refused(bootstrap: str, limit: float) -> str:
    """The reason why no address of `bootstrap` accepts a connection; empty when one does."""
    cause = "no address is given"
    for address in bootstrap.split(","):
        host, _, port = address.strip().removeprefix("PLAINTEXT://").rpartition(":")
        if not host or integer(port, 65_535) is None:
            cause = f"{address!r} is not host:port"
            continue
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=limit).close()
            return ""
        except ConnectionRefusedError:
            cause = "connection refused"
        except socket.gaierror:
            cause = f"the name {host} is not known"
        except TimeoutError:
            cause = f"no answer within {limit:g} s"
        except OSError as error:
            cause = str(error.strerror or error).lower()
    return cause


def require(broker: Broker, limit: float = 5.0) -> None:
    """Return when the broker is usable.

    Raises:
        UserError: it is not, with the cause and what to do about it.
    """
    if cause := probe(broker, limit):
        remedy = "Start one with `opsloop kafka up`, or point --broker at yours."
        if "refused" not in cause and "not known" not in cause and "host:port" not in cause:
            remedy = "Check --broker and the OPSLOOP_KAFKA_* settings."
        raise UserError(f"no broker at {broker.bootstrap} ({cause})", remedy)


# --- reading without a group ------------------------------------------------------------------------------------------


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key: MurmurHash2 as Kafka's Java client computes it (`Utils.murmur2`), modulo `partitions`."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(key)
    whole = len(key) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if whole < len(key):
        h = (h ^ int.from_bytes(key[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return ((h ^ h >> 15) & 0x7FFFFFFF) % partitions


def in_memory(client: Consumer | AdminClient) -> bool:
    """Whether a client talks to the in-memory cluster, whoever started it."""
    return str(client.list_topics(timeout=STALL_S).cluster_id).startswith("mockCluster")


def never() -> bool:
    """Return False: the default `stop` of `tail`, which then runs until its caller ends it."""
    return False


def read_all(
    broker: Broker,
    topics: Iterable[str],
    *,
    partitions: Iterable[int] | None = None,
    key: bytes | None = None,
    since_ms: Instant | None = None,
    until_end: bool = True,
) -> Iterator[Raw]:
    """The messages of `topics`, each partition in its order, from the start to the end as it is when it is reached.

    `partitions`: only these of every topic. `key`: only messages with this key, from its partition.
    `since_ms` starts at the broker's time of arrival. Without `until_end` it goes on for ever, and then partitions
    yield as data comes. The end is the client's end-of-partition event: control records leave gaps in the offsets.

    Raises:
        UserError: a topic does not exist, or the broker stopped answering.
    """
    with _reader(broker) as reader:
        places = _places(reader, topics, OFFSET_BEGINNING, key, partitions)
        if since_ms is not None and not in_memory(reader):  # the in-memory cluster cannot look up an offset by time
            places = reader.offsets_for_times([_at(p, since_ms) for p in places], timeout=STALL_S)
        for message in _messages(reader, places, until_end, never):
            wanted = (key is None or message.key() == key) and (since_ms is None or message.timestamp()[1] >= since_ms)
            if wanted:
                yield Raw.of(message)


def tail(
    broker: Broker, topics: Iterable[str], *, from_end: bool = True, stop: Callable[[], bool] = never
) -> Iterator[Raw]:
    """Yield new messages until `stop()` is true (it is called several times a second). Goes on after broker outages.

    The start is fixed when this is called, not at the first `next`: nothing that is written after the call is missed.

    Raises:
        UserError: a topic does not exist.
    """
    opened = contextlib.ExitStack()
    reader = opened.enter_context(_reader(broker))
    places = _places(reader, topics, OFFSET_BEGINNING)
    if from_end:
        for place in places:
            place.offset = _ends(reader, place)[1]

    def follow() -> Iterator[Raw]:
        with opened:
            yield from map(Raw.of, _messages(reader, places, False, stop))

    return follow()


def _ends(reader: Consumer, place: TopicPartition) -> tuple[int, int]:
    """The first offset of a partition and the one after its last. Raises KafkaException."""
    from agents._snapshots import ends  # slow to import: commands that only print need not pay for it

    return ends(reader, place, STALL_S)


def last_message(broker: Broker, topic: str, partition: int) -> Raw | None:
    """The newest message of a partition, or None when it has none. Steps back over control records and gaps."""
    with _reader(broker) as reader:
        low, high = _ends(reader, TopicPartition(topic, partition))
        step, newest = 1, None
        while high > low and newest is None:
            start = max(low, high - step)
            for message in _messages(reader, [TopicPartition(topic, partition, start)], True, never):
                newest = message
            if start == low:
                break
            step *= 16
        return None if newest is None else Raw.of(newest)


@contextlib.contextmanager
def _reader(broker: Broker) -> Iterator[Consumer]:
    config = consumer_config(broker, "opsloop-reader")  # the client requires a group name; nothing is committed
    reader = Consumer(
        config
        | {
            "group.protocol": "classic",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "fetch.message.max.bytes": MAX_MESSAGE_BYTES,
        }
    )
    try:
        yield reader
    except KafkaException as error:
        raise UserError(f"the broker does not answer ({error.args[0].str()})", SEE_DOCTOR) from None
    finally:
        reader.close()


def _places(
    reader: Consumer,
    topics: Iterable[str],
    offset: int,
    key: bytes | None = None,
    partitions: Iterable[int] | None = None,
) -> list[TopicPartition]:
    places = []
    chosen = None if partitions is None else set(partitions)
    for name in topics:
        found = reader.list_topics(name, timeout=STALL_S).topics[name]
        if found.error is not None or not found.partitions:
            raise UserError(f"there is no topic {name} on this broker", CREATE_TOPICS)
        wanted = {partition_of(key, len(found.partitions))} if key is not None else set(found.partitions)
        places += [TopicPartition(name, p, offset) for p in sorted(wanted) if chosen is None or p in chosen]
    return places


def _at(place: TopicPartition, since: Instant) -> TopicPartition:
    return TopicPartition(place.topic, place.partition, since)


def _messages(
    reader: Consumer, places: list[TopicPartition], until_end: bool, stop: Callable[[], bool]
) -> Iterator[Message]:
    open_places = {(p.topic, p.partition) for p in places if p.offset != OFFSET_END or not until_end}
    reader.assign([p for p in places if (p.topic, p.partition) in open_places])
    heard = time.monotonic()
    while open_places and not stop():
        first = reader.poll(0.1)
        batch = [] if first is None else [first, *reader.consume(1_000, 0)]
        if batch:
            heard = time.monotonic()
        elif until_end and time.monotonic() - heard > STALL_S:
            raise UserError(f"the broker fell silent for {STALL_S:g} s", SEE_DOCTOR)
        for message in batch:
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                if until_end:
                    open_places.discard((message.topic(), message.partition()))
            elif error.fatal() or error.code() in _HOPELESS:
                raise UserError(f"reading {message.topic()} failed ({error.str()})", SEE_DOCTOR)


_HOPELESS = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError.TOPIC_AUTHORIZATION_FAILED}
)
