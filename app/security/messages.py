"""Messages of people to the loop, other than votes: stops, maintenance, answers to incidents, proposals."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from confluent_kafka import KafkaException

from app.clock import now_ms
from app.errors import UserError
from app.kafka.broker import Broker, probe, tail
from app.kafka.publisher import Publisher
from app.security.keys import Keys
from app.security.switch import LocalSwitch, Said, Way
from app.settings import home, masked
from models.incidents.lifecycle import is_open
from models.safety.context import MAINTENANCE
from models.safety.masking import mask
from models.safety.roles import Role, may
from models.safety.signing import sign_proposal, sign_setting
from topics.approvals import Approval
from topics.catalog import topic_of
from topics.codec import DecodeError, decode
from topics.incidents import INCIDENTS, Incident, State
from topics.patterns import canonical, fault
from topics.proposals import Proposal
from topics.refusals import REFUSALS, Refusal
from topics.settings import ACKNOWLEDGED, INCIDENT, KILL_SWITCH, ON, SETTINGS, Setting
from topics.spec import Raw, Record, Topic

ANSWER_S: Final = 4.0  # seconds to wait for a worker's answer
OUTLAST_S: Final = 60.0  # seconds within which the message must be published


def stop(by: str, reason: str, *switches: LocalSwitch) -> tuple[Setting, list[Way]]:
    """Stop all acting on this host. Returns the setting to publish for other hosts, and the files that were tried.

    Needs no role and never raises, so that the caller can always publish the setting next.
    """
    said = mask(reason)  # with the default rules: a damaged settings file must not prevent a stop
    setting = Setting(name=KILL_SWITCH, value=ON, ts=now_ms(), by=by, reason=said)
    return setting, [way for switch in switches for way in switch.turn_on(Said(by, setting.reason, setting.ts))]


def tell_switch(broker: Callable[[], Broker], setting: Setting) -> Way:
    """Publish a setting of the kill switch. Returns whether that worked. `broker` may raise UserError."""
    try:
        where = broker()
        if cause := probe(where):
            return Way(SETTINGS.name, f"no broker at {where.bootstrap} ({cause})")
        publish(where, setting)
    except (UserError, KafkaException, OSError) as error:
        return Way(SETTINGS.name, str(error))
    return Way(SETTINGS.name)


def resume(by: str, reason: str, ends: str = "") -> Setting:
    """Make the signed setting that allows acting again. `ends`: the id of the stop that it ends, if known.

    Raises:
        UserError: the role of `by` does not allow it, or their key is not on this host.
    """
    keys = Keys(home())
    entry = keys.entry(by)
    if entry is None or not may(entry.roles, "resume"):
        raise UserError(f"{by} may not allow acting again", keys.whom_to_ask(Role.ADMIN))
    setting = Setting(name=KILL_SWITCH, value="off", ts=now_ms(), by=by, reason=masked(reason), ends=ends)
    return sign_setting(setting, keys.own(by))


def maintain(scope: str, minutes: int, by: str, reason: str) -> Setting:
    """Make the setting that forbids changes within `scope` for `minutes`. 0 ends it; that needs a signature.

    scope: a pattern, as `shop/cat*`. Raises UserError when it can match nothing.
    """
    if wrong := fault(scope):
        raise UserError(f"maintenance of {wrong}", "Name what people work on, as shop or shop/catalog")
    now, keys = now_ms(), Keys(home())
    until = now + minutes * 60_000 if minutes else 0
    setting = Setting(name=f"{MAINTENANCE}{canonical(scope)}", value=str(until), ts=now, by=by, reason=masked(reason))
    return sign_setting(setting, keys.own(by)) if keys.entry(by) else setting


def answered(incident: Incident, word: str, by: str, note: str) -> Setting:
    """Make the signed setting by which a person acknowledges or closes an incident. `word`: the new state.

    Raises:
        UserError: the incident's state or the role of `by` does not allow it, or their key is not on this host.
    """
    keys = Keys(home())
    entry = keys.entry(by)
    if entry is None or not may(entry.roles, "respond"):
        raise UserError(f"{by} may not answer for incidents", keys.whom_to_ask(Role.OPERATOR, Role.APPROVER))
    if not is_open(incident.state) or (word == ACKNOWLEDGED and incident.state is not State.TRIGGERED):
        raise UserError(f"incident {incident.id} is {incident.state}: it cannot be {word}", exit_code=1)
    setting = Setting(name=f"{INCIDENT}{incident.id}", value=word, ts=now_ms(), by=by, reason=masked(note))
    return sign_setting(setting, keys.own(by))


def sign_request(proposal: Proposal) -> Proposal:
    """Sign a proposal with the key of its requester.

    Raises:
        UserError: the requester's role does not allow it, or their key is not on this host.
    """
    keys, by = Keys(home()), proposal.requester
    entry = keys.entry(by)
    if entry is None:
        raise UserError(f"{by} has no key on this host", f"Make one: opsloop user add {by} --role operator")
    if not may(entry.roles, "propose"):
        raise UserError(f"{by} may not ask for changes", keys.whom_to_ask(Role.OPERATOR, Role.LEAD))
    return sign_proposal(proposal, keys.own(by))


def publish(broker: Broker, said: Setting | Proposal | Approval) -> None:
    """Publish a message to the workers. Returns when the broker has it."""
    with Publisher(broker) as publisher:
        publisher.send(said)


def publish_and_hear(
    broker: Broker, said: Setting | Approval, topic: Topic, answers: Callable[[Record], bool]
) -> Record | None:
    """Publish a message and wait for a worker's answer.

    Returns the first record of `topic` for which `answers` is true, or the refusal of the message; None: no answer
    within 4 s.
    """
    end = time.monotonic() + OUTLAST_S
    topics = {topic_of(said).name, topic.name, REFUSALS.name}
    heard = tail(broker, sorted(topics), stop=lambda: time.monotonic() > end)
    publish(broker, said)
    end = time.monotonic() + ANSWER_S
    return _heard(heard, said, answers)


def tell(broker: Broker, setting: Setting) -> Incident | Refusal | None:
    """Publish a setting on an incident. Returns the incident's new state, or the refusal; None: no answer in time."""

    def answers(record: Record) -> bool:
        return isinstance(record, Incident) and setting.name == f"{INCIDENT}{record.id}" and record.by == setting.by

    found = publish_and_hear(broker, setting, INCIDENTS, answers)
    assert found is None or isinstance(found, Incident | Refusal)
    return found


def _heard(heard: Iterator[Raw], said: Setting | Approval, answers: Callable[[Record], bool]) -> Record | None:
    places, refusals = set[str](), dict[str, Refusal]()
    for raw in heard:
        try:
            record = decode(raw).record
        except DecodeError:
            continue
        if isinstance(record, Setting | Approval) and record.signature == said.signature:
            places.add(str(raw.origin))
        elif isinstance(record, Refusal):
            refusals[record.origin] = record
        elif answers(record):
            return record
        if told := places & refusals.keys():
            return refusals[told.pop()]
    return None
