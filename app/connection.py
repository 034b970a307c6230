"""Where the broker is and how it is spoken to. No client is imported: a command that only prints can name a broker."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from app.secrets import resolve

DEFAULT = "127.0.0.1:9092"
_SETTING = "OPSLOOP_KAFKA_"


@dataclass(frozen=True)
class Broker:
    """Where the broker is and how it is spoken to. Small enough to be given to every process."""

    bootstrap: str = DEFAULT
    embedded: bool = False
    """The in-memory cluster: no administration, no transactions, no group protocol of its own."""
    security: Mapping[str, str] = field(default_factory=dict)
    """librdkafka's `security.protocol`, `sasl.*`, `ssl.*`, passed through as they are."""
    group_protocol: str = "auto"
    """`consumer` for the group protocol of brokers from 4.0 on: joins stall nobody. See app.kafka.groups for `auto`."""

    @classmethod
    def from_environment(cls, bootstrap: str = "", environment: Mapping[str, str] = os.environ) -> Broker:
        """The broker that is configured: `bootstrap`, else OPSLOOP_BROKER, else port 9092 on this host.

        OPSLOOP_KAFKA_SECURITY_PROTOCOL=SASL_SSL becomes `security.protocol`, and so on for every setting of librdkafka;
        OPSLOOP_KAFKA_GROUP_PROTOCOL=consumer chooses the new group protocol. A value may say where a secret is
        (`file:/run/secrets/kafka`, see app.secrets).
        """
        given = {
            name.removeprefix(_SETTING).lower().replace("_", "."): resolve(value, environment)
            for name, value in environment.items()
            if name.startswith(_SETTING)
        }
        protocol = given.pop("group.protocol", "auto")
        return cls(bootstrap or environment.get("OPSLOOP_BROKER", "") or DEFAULT, False, given, protocol)
