"""Wiring of ingest (telemetry in) and of detection (telemetry to anomalies)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from app.system import CliCommand, Parts, Stages, System, Verb, Worker, WorkerRole

if TYPE_CHECKING:
    from agents._agent import Agent
    from agents._relay import Relay
    from app.ingest.lane import TaughtLane
    from app.settings import Settings


def _rekey(parts: Parts) -> Agent[Any]:
    from agents.rekey import Rekey
    from app.ingest.settings import choose, naming

    return Rekey(choose(parts.settings.ingest), naming(parts.settings.ingest))


def _decode(parts: Parts) -> Agent[Any]:
    from agents.decode import Decode
    from app.ingest.settings import naming
    from models.versions import Book
    from topics.batch import Names

    names = Names(ttl_hours=24 * parts.settings.detection.forget_after_days, meanings=parts.packs.meanings(Book()))
    return Decode(names, parts.said, naming(parts.settings.ingest))


def _detect(parts: Parts) -> Agent[Any]:
    from agents.detect import Detect
    from app.kafka.families import partitions_of
    from topics.telemetry import METRICS

    return Detect(parts.settings.detection, 1.0 / partitions_of(METRICS, parts.settings.topics))


def _relay(worker: Worker, _: Callable[[Parts], Stages]) -> Relay:
    from app.ingest.relay import make_relay

    return make_relay(worker)


def _lane(worker: Worker, stages_of: Callable[[Parts], Stages]) -> TaughtLane:
    from app.ingest.lane import make_lane

    return make_lane(worker, stages_of)


def _prepare(settings: Settings) -> None:
    from app.ingest.warm_up import warm_up
    from app.runtime.memory import tune_allocator

    warm_up(settings.detection)
    tune_allocator()


INGEST: Final = System(
    "ingest",
    agents=(Verb("rekey", "rekey", _rekey),),
    topics=("telemetry",),
    roles=(WorkerRole("rekey", _relay, joins="lane", possible=lambda worker: bool(worker.settings.ingest.topics)),),
    commands=(
        CliCommand("collect", "collect", "Measure and publish until stopped."),
        CliCommand("publish", "publish", "Publish recorded telemetry."),
        CliCommand("receive", "receive", "Receive telemetry and events by HTTP until stopped."),
    ),
)

DETECTION: Final = System(
    "detection",
    agents=(Verb("decode", "lane", _decode), Verb("detect", "lane", _detect)),
    topics=("signals",),
    roles=(WorkerRole("lane", _lane, prepare=_prepare),),
)
