"""Tries a policy before it is signed: its text, its worked examples, and generated inputs of every kind.

A trial runs in a process of its own with a time limit, so that a policy that does not end, or that crashes the
interpreter, is found here and not in a gate.

Worked examples stand beside the policy, `storm.rego` → `storm_test.json`: a list of `{"name", "input", "effect"}`,
where `input` holds only the values that matter (the others are those of an ordinary proposal) and `effect` is allow,
deny, require_approval or degrade. With `reason`, one of the reasons of the answer must contain that text.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from app.errors import UserError
from app.policy.shipped import policies
from models.actions import catalogue
from models.actions.base import Action
from models.policy.base import PolicyEffect, PolicyFault
from models.policy.engine import Active, Policies, ruling
from models.policy.examples import examples, ordinary, taste_of
from topics.policies import Facts, PolicyResult

LIMIT_S: Final = 60.0
SLOWEST_MS: Final = 50.0  # CPU time of one evaluation: a gate evaluates every policy for every proposal
EXAMPLES: Final = 300


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A worked example: an input and the answer that is expected."""

    name: str
    input: dict[str, Any]
    effect: PolicyEffect
    reason: str = ""


class Trial(msgspec.Struct, frozen=True):
    """The result of a trial."""

    policy: str
    passed: tuple[str, ...] = ()  # worked examples
    failed: tuple[str, ...] = ()  # worked examples, each with the answer that was given
    evaluated: int = 0  # generated inputs
    effects: dict[str, int] = {}
    slowest_ms: float = 0.0

    @property
    def good(self) -> bool:
        """Whether the policy may be signed."""
        return not self.failed


class _Order(msgspec.Struct):
    source: str
    cases: tuple[Case, ...]
    actions: tuple[Action, ...]  # the process of a trial reads no settings


def cases_of(file: Path) -> tuple[Case, ...]:
    """The worked examples beside a policy; empty when there is no such file. Raises UserError when it is damaged."""
    beside = file.with_name(f"{file.stem}_test.json")
    if not beside.exists():
        return ()
    try:
        return msgspec.json.decode(beside.read_bytes(), type=tuple[Case, ...])
    except msgspec.DecodeError as error:
        remedy = 'Write a list of {"name", "input", "effect"}; see docs/policies.md'
        raise UserError(f"{beside} holds no worked examples ({error})", remedy, exit_code=1) from None


def text_of(file: Path) -> str:
    """The text of a policy file. Raises UserError when it cannot be read."""
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{file} cannot be read ({why})", "Give a .rego file") from None


def tried(source: str, cases: tuple[Case, ...] = (), limit_s: float = LIMIT_S) -> Trial:
    """Try a policy in a process of its own."""
    command = [sys.executable, "-m", "app.policy.trial"]
    order = msgspec.json.encode(_Order(source, cases, tuple(catalogue.ACTIONS.values())))
    try:
        done = subprocess.run(command, input=order, capture_output=True, timeout=limit_s, check=False)
        return msgspec.json.decode(done.stdout, type=Trial)
    except subprocess.TimeoutExpired:
        return Trial("", failed=(f"it does not come to an end within {limit_s:g} s",))
    except msgspec.DecodeError:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return Trial("", failed=(f"the interpreter breaks on it: {said[0][:200]}",))


def trial(source: str, cases: tuple[Case, ...]) -> Trial:
    """Try a policy in this process."""
    ready = Policies(policies().evaluator)
    try:
        loaded = ready.load(source)
    except PolicyFault as fault:
        return Trial("", failed=(str(fault),))
    name = loaded.header.id
    active = [Active(name, 0, loaded)]
    failed = [why for case in cases if (why := _wrong(case, active))]
    seen: dict[str, int] = {}
    slowest = 0.0
    for facts in examples(EXAMPLES, taste_of([source], [loaded.header.scope], loaded.header.actions)):
        began = time.thread_time()
        said = _said(active, facts)
        slowest = max(slowest, (time.thread_time() - began) * 1e3)
        effect = said.effect if said else "not covered"
        seen[effect] = seen.get(effect, 0) + 1
        if said and said.effect == PolicyEffect.FAULT and seen[effect] == 1:
            failed.append(f"{said.reasons[0]}, for the input {_brief(facts)}")
    if slowest > SLOWEST_MS:
        failed.append(f"one evaluation took {slowest:.0f} ms, {SLOWEST_MS:.0f} is the most")
    passed = tuple(c.name for c in cases if not _wrong(c, active))
    return Trial(name, passed, tuple(failed), EXAMPLES, seen, round(slowest, 3))


def _said(active: list[Active], facts: Facts) -> PolicyResult | None:
    return next(iter(ruling(active, facts).results), None)


def _wrong(case: Case, active: list[Active]) -> str:
    try:
        facts = msgspec.convert(_over(msgspec.to_builtins(ordinary()), case.input), Facts, strict=True)
    except msgspec.ValidationError as error:
        return f"{case.name}: its input is none ({error})"
    said = _said(active, facts)
    if said is None:
        return f"{case.name}: the policy does not cover {facts.action.name} on {facts.target.id}"
    if said.effect != case.effect:
        return f"{case.name}: {said.effect} ({', '.join(said.reasons) or 'no reason'}), not {case.effect}"
    if case.reason and not any(case.reason in reason for reason in said.reasons):
        return f"{case.name}: no reason says {case.reason!r}: {', '.join(said.reasons) or 'there is none'}"
    return ""


def _over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of `base` with `changes` merged in. A key that `base` does not have is an error of the example."""
    merged = dict(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict) and key != "parameters":
            unknown = set(value) - set(base[key])
            if unknown:
                raise msgspec.ValidationError(f"{key} has no {', '.join(sorted(unknown))}")
            merged[key] = base[key] | value
        elif key in base:
            merged[key] = value
        else:
            raise msgspec.ValidationError(f"there is no {key}")
    return merged


def _brief(facts: Facts) -> str:
    return msgspec.json.encode(facts).decode()


if __name__ == "__main__":
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=_Order)
    catalogue.ship(order.actions)
    sys.stdout.buffer.write(msgspec.json.encode(trial(order.source, order.cases)))
    sys.stdout.flush()
