"""The relay copies telemetry from topics of other agents to Opsloop's topics."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from agents._relay import Relay, RelaySettings
from agents.rekey import Rekey
from app.clock import now_ms
from app.ingest.settings import choose, naming, patterns
from app.kafka.admin import topic_id
from app.kafka.broker import consumer_config, producer_config
from app.runtime.drivers import client_config
from app.runtime.metrics import Meter
from app.system import Worker


def make_relay(worker: Worker) -> Relay:
    """Make a relay for the topics in the settings. The workers of its group share their partitions.

    Raises UserError when a name in the settings is not valid for a topic.
    """
    classic = replace(worker.broker, group_protocol="classic")  # only this protocol finds new topics
    settings = RelaySettings(
        patterns(worker.settings.ingest), consumer_config(classic, "opsloop-rekey"), producer_config(worker.broker),
        client_config(worker.broker), partial(topic_id, worker.broker),
    )  # fmt: skip
    return Relay(settings, Rekey(choose(worker.settings.ingest), naming(worker.settings.ingest)), now_ms, Meter())
