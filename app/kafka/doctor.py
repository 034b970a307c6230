"""Checks of an installation and its broker, for `opsloop doctor`. Each finding names the remedy."""

from __future__ import annotations

import contextlib
import importlib.util
import platform
import shutil
from collections.abc import Iterator
from itertools import islice
from typing import Final, Literal

import confluent_kafka
import msgspec
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaException, Message
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from app.clock import now_ms
from app.errors import UserError
from app.ingest.settings import IngestSettings, found
from app.kafka.admin import connected, plan, size, wanted
from app.kafka.broker import Broker, probe, read_all
from app.kafka.families import LOOP
from app.kafka.local import INSTALL
from app.kafka.publisher import Publisher
from app.settings import load
from topics.codec import DecodeError, decode, misplaced
from topics.spec import MAIN

CLOCK_MS: Final = 500  # ms; with a larger offset, evidence from two hosts cannot be ordered
SEEN_MS: Final = 300_000  # so far back is looked for records with other keys
SEEN_MOST: Final = 50_000  # and at so many
_PROBE_TOPIC: Final = "opsloop.doctor"
_EXTRAS: Final = (
    ("demo", "supervisor", "the demo site and the actuator for supervised processes"),
    ("api", "fastapi", "approvals by HTTP"),
)


class CheckResult(msgspec.Struct, frozen=True):
    """The result of one check. A note is information; only `failed` requires action."""

    what: str
    state: Literal["ok", "note", "failed"]
    detail: str
    remedy: str = ""


def examine(broker: Broker, settings: IngestSettings | None = None) -> Iterator[CheckResult]:
    """Check this installation, then the broker, then what is optional."""
    yield CheckResult("python", "ok", platform.python_version())
    yield CheckResult(
        "kafka client", "ok", f"confluent-kafka {confluent_kafka.__version__}, librdkafka {_librdkafka()}"
    )
    cause = probe(broker)
    if cause is None:
        yield from _broker(broker, settings or IngestSettings())
    else:
        remedy = "Start one with `opsloop kafka up`, or point --broker at yours"
        yield CheckResult("broker", "failed", f"{broker.bootstrap}: {cause}", remedy)
    yield from _extras()
    yield _java(needed=cause is not None)


def _librdkafka() -> str:
    return str(confluent_kafka.libversion()[0])


def _broker(broker: Broker, settings: IngestSettings) -> Iterator[CheckResult]:
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(connected(broker))
            yield _version(broker, client)
            yield _topics(client)
            yield _clock(broker, client)
            yield check_domains(broker)
            yield from _ingest(client, settings)
        except (UserError, KafkaException) as error:
            yield CheckResult("broker", "failed", str(error), "Give this user the rights of the catalogue's topics")


def _version(broker: Broker, client: AdminClient) -> CheckResult:
    nodes = client.list_topics(timeout=10).brokers
    resource = ConfigResource(ResourceType.BROKER, str(min(nodes)))
    settings = client.describe_configs([resource], request_timeout=10)[resource].result()
    # brokers do not report their version, only the requests that they support
    setting = settings.get("group.coordinator.rebalance.protocols")
    protocols = (setting.value if setting else "classic").split(",")
    version = "4.1 or newer" if "streams" in protocols else "4.0" if "consumer" in protocols else "before 4.0"
    detail = f"{broker.bootstrap}: {len(nodes)} node{'s' * (len(nodes) > 1)}, Kafka {version}"
    if "consumer" in protocols and broker.group_protocol == "classic":
        advice = "Set OPSLOOP_KAFKA_GROUP_PROTOCOL=consumer: then workers that join stall nobody"
        return CheckResult("broker", "ok", detail, advice)
    return CheckResult("broker", "ok", detail)


def _topics(client: AdminClient) -> CheckResult:
    want = list(wanted(size(client), settings=load().topics))
    steps = plan(client, want)
    if not steps:
        return CheckResult("topics", "ok", f"all {len(want)} as the catalogue wants them")
    missing = sum(step.kind == "create" for step in steps)
    detail = f"{missing} missing, {len(steps) - missing} different, of {len(want)}"
    return CheckResult("topics", "failed", detail, "See them with `opsloop topics plan`, then `opsloop topics apply`")


def check_domains(broker: Broker) -> CheckResult:
    """Check that what was published lately has the keys which the correlation domains of these settings give it."""
    domains, wrong, seen = load().incidents.domains, [], 0
    with contextlib.suppress(UserError):  # a missing topic is a finding of its own
        since = now_ms() - SEEN_MS
        for raw in islice(read_all(broker, [topic.name for topic in LOOP.rest], since_ms=since), SEEN_MOST):
            with contextlib.suppress(DecodeError):
                seen, cause = seen + 1, misplaced(raw, decode(raw).record)
                wrong += [cause] if cause else []
    told = ", ".join(f"{pattern} = {name}" for pattern, name in domains.items()) or f"one for all, {MAIN}"
    if wrong:
        remedy = (
            f"Give every process the same [incidents.domains] (here: {told}), and send with those keys;"
            f" after a change of domains this passes in {SEEN_MS // 60_000} minutes"
        )
        return CheckResult("domains", "failed", f"{len(wrong)} of {seen} records are misplaced: {wrong[-1]}", remedy)
    return CheckResult("domains", "ok", f"{told}; {seen} records of the last {SEEN_MS // 60_000} minutes agree")


def _ingest(client: AdminClient, settings: IngestSettings) -> Iterator[CheckResult]:
    """Check that topics in `[ingest.topics]` exist: the client waits for a missing one without an error."""
    topics = client.list_topics(timeout=10).topics
    for pattern, names in found(settings, topics).items():
        if names:
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            yield CheckResult(f"ingest {pattern}", "ok", f"{shown} as {settings.topics[pattern]}")
        else:
            remedy = "Create it, or mend [ingest.topics]"
            yield CheckResult(f"ingest {pattern}", "note", "the broker has no such topic", remedy)


def _clock(broker: Broker, client: AdminClient) -> CheckResult:
    """Measure the offset of the broker's clock by the timestamp that it gives to a message, within the round trip."""
    stamped: list[int] = []

    def delivered(error: object, message: Message) -> None:
        kind, at = message.timestamp()
        if error is None and kind == TIMESTAMP_LOG_APPEND_TIME:
            stamped.append(at)

    settings = {"message.timestamp.type": "LogAppendTime", "retention.ms": "3600000"}
    try:
        client.create_topics([NewTopic(_PROBE_TOPIC, 1, config=settings)])[_PROBE_TOPIC].result(10)
        publisher = Publisher(broker, on_delivery=delivered)
        for _ in range(2):  # the first message waits for a connection and a leader; the second one is measured
            before = now_ms()
            publisher.send_raw(_PROBE_TOPIC, b"clock", b"")
            publisher.flush(10)
            after = now_ms()
    except (KafkaException, UserError) as error:
        return CheckResult("clock", "note", f"not compared with the broker's: {error}")
    finally:
        with contextlib.suppress(KafkaException):
            client.delete_topics([_PROBE_TOPIC])[_PROBE_TOPIC].result(10)
    if not stamped:
        return CheckResult("clock", "note", "not compared: the broker did not stamp the message")
    off = max(0, before - stamped[-1], stamped[-1] - after)
    if off > CLOCK_MS:
        return CheckResult("clock", "failed", f"{off} ms away from the broker's", "Let both hosts keep time with NTP")
    return CheckResult("clock", "ok", f"within {max(off, after - before)} ms of the broker's")


def _extras() -> Iterator[CheckResult]:
    for extra, module, what in _EXTRAS:
        if importlib.util.find_spec(module):
            yield CheckResult(f"extra {extra}", "ok", what)
        else:
            yield CheckResult(f"extra {extra}", "note", f"not installed: {what}", f"pip install 'opsloop[{extra}]'")


def _java(*, needed: bool) -> CheckResult:
    missing = [name for name, program in (("Java", "java"), ("Maven", "mvn")) if not shutil.which(program)]
    if not missing:
        return CheckResult("java and maven", "ok", "there for `opsloop kafka up`")
    state: Literal["note", "failed"] = "failed" if needed else "note"
    return CheckResult("java and maven", state, f"no {' and no '.join(missing)}: needed by `opsloop kafka up`", INSTALL)
