"""Finds policies that contradict each other, each pair with an input on which they do.

A policy that restricts what one of another type grants is no conflict. These are conflicts:

allow_deny    two policies of the same type cover an input; one allows it, the other denies it
ask_deny      one requires votes or degrades the action, another that is not `access` denies it: votes have no effect
parameters    two policies set the same parameter to different values
override      one overrides another that is missing or not overridable by it
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Final, Literal

import msgspec

from models.policy.base import Answer, Header, PolicyEffect, PolicyFault, PolicyKind
from models.policy.engine import Active, Loaded, answers
from models.policy.examples import examples, taste_of
from topics.patterns import covers
from topics.policies import Facts, PolicyResult

GENERATED: Final = 2_000  # number of generated inputs
_SOFT: Final = (PolicyEffect.REQUIRE_APPROVAL, PolicyEffect.DEGRADE)

ConflictKind = Literal["allow_deny", "ask_deny", "parameters", "override"]
Said = tuple[PolicyResult, Answer]


class Conflict(msgspec.Struct, frozen=True):
    """Two policies that contradict each other, with an example."""

    kind: ConflictKind
    policies: tuple[str, str]
    says: tuple[str, str]
    witness: Facts | None = None  # an input on which they do; None: their metadata contradict
    recorded: str = ""  # the decision that the input comes from; empty: it was generated
    inputs: int = 0  # number of inputs on which they contradict
    shared: int = 0  # number of inputs that both cover


def conflicts(
    policies: Sequence[Active], texts: Iterable[str], recorded: Iterable[tuple[str, Facts]] = (), count: int = GENERATED
) -> list[Conflict]:
    """Find every pair that contradicts on some input. Returns each with the first such input; recorded ones come first.

    texts: the policies' sources, from which inputs are generated. recorded: (decision, facts). count: generated inputs.
    """
    heads = [policy.loaded.header for policy in policies if isinstance(policy.loaded, Loaded)]
    taste = taste_of(texts, (h.scope for h in heads), {a for h in heads for a in h.actions})
    found: dict[tuple[ConflictKind, str, str], Conflict] = {}
    shared: dict[tuple[str, str], int] = {}
    made = (("", facts) for facts in examples(count, taste))
    for source in (recorded, made):
        for identity, facts in source:
            said = [(r, a) for r, a in answers(policies, facts) if a is not None and r.enforced]
            for one, other in combinations(said, 2):
                pair = one[0].policy, other[0].policy
                shared[pair] = shared.get(pair, 0) + 1
                for kind in _kinds(one, other):
                    before = found.get((kind, *pair))
                    found[kind, *pair] = _once_more(before) if before else Conflict(
                        kind, pair, (_told(one), _told(other)), facts, identity, 1
                    )  # fmt: skip
    counted = [msgspec.structs.replace(c, shared=shared[c.policies]) for c in found.values()]
    return sorted([*counted, *_overrides(heads)], key=lambda c: (c.policies, c.kind))


def _once_more(conflict: Conflict) -> Conflict:
    return msgspec.structs.replace(conflict, inputs=conflict.inputs + 1)


def _kinds(one: Said, other: Said) -> Iterator[ConflictKind]:
    effects = one[0].effect, other[0].effect
    if PolicyEffect.DENY in effects and effects[0] != effects[1]:
        if one[0].kind == other[0].kind:
            yield "allow_deny"
        elif (effects[0] in _SOFT or effects[1] in _SOFT) and PolicyKind.ACCESS not in (one[0].kind, other[0].kind):
            yield "ask_deny"
    elif one[1].degrade and other[1].degrade:
        here, there = _parameters(one[1]), _parameters(other[1])
        if any(here[name] != there[name] for name in here.keys() & there.keys()):
            yield "parameters"


def _parameters(answer: Answer) -> dict[str, str]:
    return {name: value for less in answer.degrade for name, value in less.parameters.items()}


def _told(said: Said) -> str:
    result, answer = said
    set_ = "".join(f", {name} = {value}" for name, value in sorted(_parameters(answer).items()))
    return f"{result.effect}{set_}" + (f" ({'; '.join(result.reasons)})" if result.reasons else "")


def _overrides(heads: Sequence[Header]) -> Iterator[Conflict]:
    known = {head.id: head for head in heads}
    for head in heads:
        if not head.overrides:
            continue
        wide = known.get(head.overrides)
        if wide is None:
            why = "there is no such policy"
        elif not wide.overridable:
            why = "it is not overridable"
        elif wide.type is not head.type:
            why = f"it is of another type ({wide.type})"
        elif covers(head.scope, wide.scope) or not covers(wide.scope, head.scope):
            why = f"its scope ({wide.scope or 'everything'}) is not the wider one"
        else:
            continue
        yield Conflict("override", (head.id, head.overrides), (f"overrides {head.overrides}", why))


def unasked(policies: Sequence[Active]) -> list[str]:
    """Return the names of policies that were not checked, because their text cannot be loaded."""
    return [policy.name for policy in policies if isinstance(policy.loaded, PolicyFault)]
