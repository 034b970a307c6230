"""Derives a policy from recorded decisions: quotas and votes that would not have blocked actions that helped.

A person reviews the text. Its enforcement is `monitor`: registered unchanged, it only records what it would deny. Every
rule is preceded by the figures that it is derived from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from topics.decisions import Decision, DecisionState
from topics.policies import Facts
from topics.verdicts import Effect

LEAST: Final = 5  # minimum number of decisions for a rule
FEW: Final = 0.5  # success rate below which a person approves an action
SPARE: Final = 1  # margin over the highest count at which an action helped
LEAD: Final = 0.2  # success rate below which a lead approves an action
COUNTED: Final = {
    "actions": "actions on its system", "target_actions": "actions on the target",
    "failures": "actions in a row in vain",
}  # fmt: skip

_DONE: Final = frozenset({DecisionState.DISPATCHED, DecisionState.COMPLETED})
_HELPED: Final = frozenset({Effect.REMEDIATED})
_VAIN: Final = frozenset({Effect.INEFFECTIVE, Effect.REGRESSED})


class Experience(msgspec.Struct, frozen=True):
    """One decision with its outcome."""

    facts: Facts
    state: DecisionState  # its last state
    effect: Effect | None = None  # effect of its action; None: unknown


def experiences(decisions: Iterable[Decision], effects: Mapping[str, Effect]) -> list[Experience]:
    """Return each decision with its last state and its effect.

    decisions: all states of each, in order. effects: by decision.
    """
    facts: dict[str, Facts] = {}
    states: dict[str, DecisionState] = {}
    for decision in decisions:
        if decision.facts is not None:
            facts.setdefault(decision.id, decision.facts)
        states[decision.id] = decision.state
    return [Experience(known, states[identity], effects.get(identity)) for identity, known in facts.items()]


def recommend(seen: Sequence[Experience], name: str, since: str, until: str) -> str:
    """Return the text of a policy file. Recorded text never becomes code in it.

    name: id of the policy. since, until: days, for its title.
    """
    rules = [*_quotas(seen), *_votes(seen)]
    head = [
        "# METADATA", f"# title: From what was recorded between {since} and {until}", "# custom:", f"#   id: {name}",
        "#   type: quota", "#   owner: recommended", "#   enforcement: monitor", f"package opsloop.{name}", "",
        "import rego.v1", "", f"# from {len(seen)} decisions; look at each rule, then set its enforcement to strict",
        "default allow := true",
    ]  # fmt: skip
    if any("\nreasons contains" in rule for rule in rules):
        head += ["", "allow := false if count(reasons) > 0"]
    return "\n".join([*head, *(line for rule in rules for line in ("", rule)), ""])


def _quotas(seen: Sequence[Experience]) -> list[str]:
    """Return quota rules: the highest count in the gate's window at which an action helped, plus `SPARE`."""
    by_action: dict[str, list[Experience]] = defaultdict(list)
    for experience in seen:
        if experience.state in _DONE:
            by_action[experience.facts.action.name].append(experience)
    rules = []
    for action, done in sorted(by_action.items()):
        useful = [e for e in done if e.effect in _HELPED]
        if not _plain(action) or len(useful) < LEAST:
            continue
        for field, words in COUNTED.items():
            most = max(getattr(e.facts.system, field) for e in useful) + SPARE
            rules.append(
                f"# {len(done)} times {action} was done, {len(useful)} times it helped, never after more than "
                f"{most - SPARE} {words}\n"
                f'reasons contains "{action} never helped after so many {words}" if {{\n'
                f'\tinput.action.name == "{action}"\n\tinput.system.{field} > {most}\n}}'
            )
    return rules


def _votes(seen: Sequence[Experience]) -> list[str]:
    """Return approval rules for actions that seldom helped or that people rejected."""
    cases: dict[tuple[str, str], list[Experience]] = defaultdict(list)
    for experience in seen:
        cases[experience.facts.action.name, experience.facts.proposal.cause].append(experience)
    rules = []
    for (action, cause), those in sorted(cases.items()):
        judged = [e for e in those if e.effect in _HELPED | _VAIN]
        helped = sum(e.effect in _HELPED for e in judged)
        voted = [e for e in those if e.state is DecisionState.REJECTED or e.state in _DONE]
        refused = sum(e.state is DecisionState.REJECTED for e in voted)
        if not (_plain(action) and _plain(cause)):
            continue
        why = ""
        if len(judged) >= LEAST and helped / len(judged) < FEW:
            why, share = f"helped {helped} of {len(judged)} times", helped / len(judged)
        elif refused >= LEAST and refused / len(voted) > FEW:
            why, share = f"people said no to it {refused} of {len(voted)} times", 1 - refused / len(voted)
        if why:
            role = "lead" if share < LEAD else "approver"
            rules.append(
                f"# {action} for {cause}: {why}\n"
                f'require_approval contains {{"role": "{role}", "quorum": 1, "reason": "{why}"}} if {{\n'
                f'\tinput.action.name == "{action}"\n\tinput.proposal.cause == "{cause}"\n}}'
            )
    return rules


def _plain(word: str) -> bool:
    """Whether a recorded string may be written into the text: it must be a plain name."""
    return 0 < len(word) <= 60 and word.isascii() and all(c.isalnum() or c in "_-." for c in word)
