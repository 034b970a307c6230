"""Actions: commands to actuators, and what became of them."""

from __future__ import annotations

from typing import Literal

from topics.spec import Instant, Record, Topic, system_of

Outcome = Literal["succeeded", "failed", "timed_out", "canceled", "unknown", "refused"]


class Command(Record, frozen=True):
    """One order to one actuator. It runs at most once, and never after it has expired."""

    id: str  # H(decision, step)
    decision: str
    incident: str
    ts: Instant
    action: str
    target: str
    parameters: dict[str, str]
    expires: Instant


class Result(Record, frozen=True):
    """What an actuator did with a command."""

    id: str  # H(command)
    command: str
    decision: str
    incident: str
    action: str
    target: str
    ts: Instant
    outcome: Outcome
    detail: str
    started: Instant = 0  # 0: it never began
    actuator: str = ""


COMMANDS = Topic(
    "opsloop.actions.commands", Command, key=lambda command: system_of(command.target), what="orders to actuators"
)
RESULTS = Topic(
    "opsloop.actions.results", Result, key=lambda result: system_of(result.target), what="what actuators did"
)
