"""Decision requests of people and programs: questions, answered as the loop would answer, and proposals."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from app.clock import now_ms
from app.errors import UserError
from app.kafka.broker import Broker
from app.settings import Settings, masked
from app.shipped import packs
from models.actions.catalogue import ACTIONS
from models.decision.advisor import Advisor
from models.decision.base import Case, Context, DecisionKind
from models.decision.rules import facts_of, findings
from models.safety.limits import GateState
from models.versions import Book
from topics.decisions import Decision
from topics.proposals import Proposal
from topics.spec import derive


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The facts about a target. `context` overrides the circumstances that settings and clock give."""

    kind: DecisionKind
    target: str
    facts: dict[str, float]
    context: dict[str, float] = {}
    parameters: dict[str, str] = {}  # values that rules put into actions, as `approved_revision`


def read(file: Path) -> Question:
    """Read a question from a JSON or TOML file. Raises UserError when it cannot be read or is not a question."""
    try:
        text = file.read_text()
        tree: Any = tomllib.loads(text) if file.suffix == ".toml" else msgspec.json.decode(text)
        return msgspec.convert(tree, Question)
    except OSError as error:
        raise UserError(f"cannot read {file} ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, msgspec.DecodeError, UnicodeDecodeError) as error:
        remedy = "It has kind, target and facts; see docs/decisions.md"
        raise UserError(f"{file} is no question: {error}", remedy) from None


def kind_named(name: str) -> DecisionKind:
    """The kind with this name. Raises UserError when there is none."""
    try:
        return DecisionKind(name)
    except ValueError:
        raise UserError(
            f"there is no kind of decision {name!r}", f"Give --kind, one of {', '.join(DecisionKind)}"
        ) from None


def pairs(words: Sequence[str]) -> dict[str, str]:
    """Parse `name=value` arguments. Raises UserError when one has another form."""
    for word in words:
        if not word.partition("=")[1]:
            raise UserError(f"{word!r} has no value", "Write name=value")
    return {word.partition("=")[0]: word.partition("=")[2] for word in words}


def facts(words: Sequence[str]) -> dict[str, float]:
    """Parse `name=number` arguments. Raises UserError when one has another form."""
    try:
        return {name: float(value) for name, value in pairs(words).items()}
    except ValueError as error:
        raise UserError(f"a fact is no number: {error}", "Write --fact utilization=0.9") from None


def answer(question: Question, settings: Settings, who: str) -> Decision:
    """The decision that an idle loop would make now, with the settings and shipped policies of this host.

    Raises:
        UserError: no rule applies to these facts, or no option is worth doing.
    """
    from app.decisions.bounds import bounds

    if not question.target:
        raise UserError("what is it about?", "Give --target, as shop/catalog")
    now = now_ms()
    knowledge = packs().knowledge(Book())
    found = findings(knowledge, question.kind, question.target, question.facts)
    if not found:
        asked = ", ".join(facts_of(knowledge, question.kind))
        raise UserError(f"no rule of {question.kind} fires on these facts", f"Its rules ask about {asked}", exit_code=1)
    try:
        known = msgspec.structs.asdict(settings.decision.context(now))
        context = msgspec.convert(known | question.context, Context)
    except msgspec.ValidationError as error:
        raise UserError(f"context: {error}", "See docs/decisions.md") from None
    case = Case(
        id=derive("question", who, now, msgspec.json.encode(question, order="sorted")), kind=question.kind,
        hypotheses=found, context=context, parameters=question.parameters, requester=who,
    )  # fmt: skip
    held = bounds(settings)
    made = Advisor(knowledge=knowledge).propose(case, (), held, now)
    if made is None or held.policies is None:
        raise UserError("nothing that could be done is worth it", "Look at [decision] in the settings", exit_code=1)
    return next(GateState().judge(made, settings.safety, held.policies, now))


def proposal(
    action: str, target: str, parameters: dict[str, str], who: str, reason: str, expects: str = ""
) -> Proposal:
    """Make a person's proposal. Its confidence is 0 because no rule supports it, so it always needs a vote.

    Raises:
        UserError: the catalogue has no such action, or it does not take these parameters.
    """
    known = ACTIONS.get(action)
    if known is None:
        raise UserError(f"there is no action {action!r}", f"There are {', '.join(sorted(ACTIONS))}")
    if objection := known.objection(parameters):
        raise UserError(objection)
    now = now_ms()
    return Proposal(
        id=derive("proposal", who, now, action, target, msgspec.json.encode(parameters, order="sorted")), ts=now,
        action=action, target=target, parameters=parameters, requester=who, confidence=0.0, cause="request",
        reasons=(masked(reason) or f"{who} asks for it",), expects=expects,
    )  # fmt: skip


def publish(proposal: Proposal, broker: Broker, *, force: bool = False) -> Proposal:
    """Sign a proposal as its requester and publish it. Returns the signed one. `force`: accept any target.

    Raises:
        UserError: it is not for them to ask, their key is not on this host, the broker does not answer, or nothing is
            known of its target.
    """
    from app.decisions.known import require_known
    from app.kafka.broker import require
    from app.security import messages

    signed = messages.sign_request(proposal)
    require(broker)
    if not force:
        require_known(broker, proposal.target)
    messages.publish(broker, signed)
    return signed
