"""Reads the kill switch, maintenance, and the decisions that wait for approval, for commands and the API."""

from __future__ import annotations

from pathlib import Path

import msgspec

from app.clock import now_ms
from app.kafka.broker import Broker, read_all
from app.security.keys import Keys
from app.security.switch import LocalSwitch
from models.safety.context import SafetyContext
from models.safety.signing import Refused
from models.safety.switch import KillSwitch
from topics.codec import DecodeError, decode
from topics.decisions import DECISIONS, Decision, DecisionState
from topics.settings import SETTINGS, Setting
from topics.spec import Instant, Raw, Record


class Standing(msgspec.Struct, frozen=True):
    """Stops and maintenance in force now."""

    by_topic: str  # who turned the kill switch on through the topic, and why; empty: nobody
    by_file: str  # the same, through a file on this host
    maintenance: dict[str, Instant]  # scope → end (ms)
    stop: str = ""  # id of the newest stop in force on the topic

    @property
    def killed(self) -> str:
        """Who turned the kill switch on and why, through the topic or a file; empty: nobody."""
        return self.by_topic or self.by_file


def by_file(home: Path) -> str:
    """Who stopped this host's actuators through a file, and why; empty: nobody."""
    return LocalSwitch(home).said()


def standing(broker: Broker, home: Path) -> Standing:
    """Read the settings topic and this host's file. Raises UserError when the topic cannot be read."""
    switch, context, keys, now = KillSwitch(), SafetyContext(), Keys(home), now_ms()
    for raw in read_all(broker, [SETTINGS.name]):
        setting = _record(raw)
        if not isinstance(setting, Setting):
            continue
        try:
            switch.take(setting, keys, raw.arrived or now)
            context.maintain(setting, keys)
        except Refused:
            continue  # the gate reports the refusal
        except Exception:  # one broken record must not hide the others
            continue
    maintained = {scope: until for scope, until in context.maintained.items() if until > now}
    by_topic = switch.killed and (switch.killed.removesuffix(": ") or "somebody")  # a stop needs no reason
    return Standing(by_topic, by_file(home), maintained, next(reversed(list(switch.stops)), ""))


def waiting(broker: Broker, since_ms: Instant) -> list[Decision]:
    """Decisions since `since_ms` that wait for people, sorted by expiry."""
    latest: dict[str, Decision] = {}
    for raw in read_all(broker, [DECISIONS.name], since_ms=since_ms):
        decision = _record(raw)
        if isinstance(decision, Decision):
            latest[decision.id] = decision  # records of one id are on one partition, in order
    now = now_ms()
    found = [d for d in latest.values() if d.state is DecisionState.PENDING and now < d.expires]
    return sorted(found, key=lambda d: (d.expires, d.id))


def _record(raw: Raw) -> Record | None:
    try:
        return decode(raw).record
    except DecodeError:
        return None  # the agent that reads it dead-letters it
