"""Wiring of Kafka: commands on topics, dead letters, and a broker on this host."""

from __future__ import annotations

from typing import Final

from app.system import Command, System

KAFKA: Final = System(
    "kafka",
    topics=("state",),
    commands=(
        Command("topics", "topics", "The topics of Opsloop: list, plan, apply, grow, export."),
        Command("watch", "watch", "Print the records of topics as they come, one a line."),
        Command("dead-letters", "dead_letters", "Messages that were refused: list, show, replay, purge."),
        Command("kafka", "kafka", "Start and stop a real Kafka on this host (needs Java 17 and Maven)."),
        Command("doctor", "doctor", "Look at this installation and its broker."),
    ),
)
