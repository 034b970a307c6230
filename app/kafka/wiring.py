"""Wiring of Kafka: commands on topics, dead letters, and a broker on this host."""

from __future__ import annotations

from typing import Final

from app.system import CliCommand, System

KAFKA: Final = System(
    "kafka",
    topics=("state",),
    commands=(
        CliCommand("topics", "topics", "The topics of Opsloop: list, plan, apply, grow, export."),
        CliCommand("watch", "watch", "Print the records of topics as they come, one a line."),
        CliCommand("dead-letters", "dead_letters", "Messages that were refused: list, show, replay, purge."),
        CliCommand("kafka", "kafka", "Start and stop a real Kafka on this host (needs Java 17 and Maven)."),
        CliCommand("doctor", "doctor", "Look at this installation and its broker."),
    ),
)
