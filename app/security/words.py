"""What people say to the loop besides votes, each under their signature where it takes one."""

from __future__ import annotations

import time
from collections.abc import Iterator

from app.broker import Broker, tail
from app.client import Publisher
from app.clock import now_ms
from app.errors import UserError
from app.security.keys import Keys
from app.security.switch import LocalSwitch, Said
from app.security.votes import ANSWER_S
from app.settings import home, masked
from models.incidents.lifecycle import is_open
from models.safety.masking import mask
from models.safety.roles import may
from models.safety.signing import sign_setting
from models.safety.surroundings import MAINTENANCE
from topics.codec import DecodeError, decode
from topics.incidents import INCIDENTS, Incident, State
from topics.proposals import Proposal
from topics.refusals import REFUSALS, Refusal
from topics.settings import ACKNOWLEDGED, INCIDENT, KILL_SWITCH, ON, SETTINGS, Setting
from topics.spec import Raw


def stopped(by: str, reason: str, switch: LocalSwitch) -> Setting:
    """Stop everything on this host at once; the setting that tells the others. It needs no rights."""
    said = mask(reason)  # by the rules that need no settings: a damaged file of them must not be in the way
    setting = Setting(name=KILL_SWITCH, value=ON, ts=now_ms(), by=by, reason=said)
    switch.turn_on(Said(by, setting.reason, setting.ts))
    return setting


def resumed(by: str, reason: str) -> Setting:
    """The setting that allows acting again.

    Raises:
        UserError: it is not for them to say, or their key is not on this host.
    """
    keys = Keys(home())
    entry = keys.entry(by)
    if entry is None or not may(entry.roles, "resume"):
        raise UserError(f"{by} may not allow acting again", "Ask an admin: opsloop user list")
    setting = Setting(name=KILL_SWITCH, value="off", ts=now_ms(), by=by, reason=masked(reason))
    return sign_setting(setting, keys.own(by))


def maintained(scope: str, minutes: int, by: str, reason: str) -> Setting:
    """The setting that nothing is changed within a scope for so long; 0 ends it, which takes a signature to count."""
    now, keys = now_ms(), Keys(home())
    until = now + minutes * 60_000 if minutes else 0
    setting = Setting(name=f"{MAINTENANCE}{scope}", value=str(until), ts=now, by=by, reason=masked(reason))
    return sign_setting(setting, keys.own(by)) if keys.entry(by) else setting


def answered(incident: Incident, word: str, by: str, note: str) -> Setting:
    """The setting by which a person takes an incident on, or closes it.

    Raises:
        UserError: that is not possible any more, it is not for them to say, or their key is not on this host.
    """
    keys = Keys(home())
    entry = keys.entry(by)
    if entry is None or not may(entry.roles, "respond"):
        raise UserError(f"{by} may not answer for incidents", "Ask an operator or approver: opsloop user list")
    if not is_open(incident.state) or (word == ACKNOWLEDGED and incident.state is not State.TRIGGERED):
        raise UserError(f"incident {incident.id} is {incident.state}: it cannot be {word}", exit_code=1)
    setting = Setting(name=f"{INCIDENT}{incident.id}", value=word, ts=now_ms(), by=by, reason=masked(note))
    return sign_setting(setting, keys.own(by))


def publish(broker: Broker, said: Setting | Proposal) -> None:
    """Tell the workers; return when the broker has it."""
    with Publisher(broker) as publisher:
        publisher.send(said)


def publish_and_hear(broker: Broker, setting: Setting) -> Incident | Refusal | None:
    """The same for a word on an incident, and what a worker made of it; None: nothing in time."""
    end = time.monotonic() + 60.0
    topics = [t.name for t in (SETTINGS, INCIDENTS, REFUSALS)]
    heard = tail(broker, topics, stop=lambda: time.monotonic() > end)
    publish(broker, setting)
    end = time.monotonic() + ANSWER_S
    return _heard(heard, setting)


def _heard(heard: Iterator[Raw], said: Setting) -> Incident | Refusal | None:
    places, refusals = set[str](), dict[str, Refusal]()
    for raw in heard:
        try:
            record = decode(raw).record
        except DecodeError:
            continue
        match record:
            case Setting(signature=signature) if signature == said.signature:
                places.add(str(raw.origin))
            case Refusal() as refused:
                refusals[refused.origin] = refused
            case Incident() as incident if said.name == f"{INCIDENT}{incident.id}" and incident.by == said.by:
                return incident
        if told := places & refusals.keys():
            return refusals[told.pop()]
    return None
