"""Ingest: what becomes telemetry; and detection: what becomes of telemetry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from app.system import Command, Parts, Role, Stages, System, Verb, Worker

if TYPE_CHECKING:
    from agents._agent import Agent
    from agents._lane import Lane
    from agents._relay import Relay
    from app.settings import Settings


def _rekey(parts: Parts) -> Agent[Any]:
    from agents.rekey import Rekey
    from app.ingest.settings import choose

    return Rekey(choose(parts.settings.ingest))


def _decode(_: Parts) -> Agent[Any]:
    from agents.decode import Decode

    return Decode()


def _detect(parts: Parts) -> Agent[Any]:
    from agents.detect import Detect

    return Detect(parts.settings.detection)


def _relay(worker: Worker, _: Callable[[Parts], Stages]) -> Relay:
    """A relay from other agents' topics to ours; every worker of the group has its share of their partitions."""
    from agents._relay import Relay, RelaySettings
    from agents.rekey import Rekey
    from app.clock import now_ms
    from app.ingest.settings import choose, patterns
    from app.kafka.admin import topic_id
    from app.kafka.broker import consumer_config, producer_config
    from app.runtime.drivers import client_config
    from app.runtime.metrics import Meter

    classic = replace(worker.broker, group_protocol="classic")  # whose client looks for new topics by itself
    settings = RelaySettings(
        patterns(worker.settings.ingest), consumer_config(classic, "opsloop-rekey"), producer_config(worker.broker),
        client_config(worker.broker), partial(topic_id, worker.broker),
    )  # fmt: skip
    return Relay(settings, Rekey(choose(worker.settings.ingest)), now_ms, Meter())


def _lane(worker: Worker, stages_of: Callable[[Parts], Stages]) -> Lane:
    from app.runtime.drivers import make_lane

    return make_lane(worker, stages_of(Parts(worker.settings)), "opsloop-lane")


def _prepare(settings: Settings) -> None:
    from app.ingest.warm_up import warm_up
    from app.runtime.memory import tune_allocator

    warm_up(settings.detection)
    tune_allocator()


INGEST: Final = System(
    "ingest",
    agents=(Verb("rekey", "rekey", _rekey),),
    topics=("telemetry",),
    roles=(Role("rekey", _relay, joins="lane", possible=lambda worker: bool(worker.settings.ingest.topics)),),
    commands=(
        Command("collect", "collect", "Measure and publish until stopped."),
        Command("publish", "publish", "Publish recorded telemetry."),
    ),
)

DETECTION: Final = System(
    "detection",
    agents=(Verb("decode", "lane", _decode), Verb("detect", "lane", _detect)),
    topics=("signals",),
    roles=(Role("lane", _lane, prepare=_prepare),),
)
