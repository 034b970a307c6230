"""Recorded faults of a real site through the whole loop, offline and cold: what was told of each, and what was false.

A folder holds cases. `NAME.jsonl.gz` has samples as JSON lines (`entity`, `ts` in ms, `metrics`), `NAME.events.jsonl`
has events, and `NAME.truth.json` says for the judge alone what was done: `fault` (null when nothing was; else with
`entity`), `injected`, `cured`, `start` and `end` in ms. The loop is that of `opsloop replay`.

An incident counts when it is triggered. It is detected when that lies between the fault and its cure, and false when
it lies before the fault, or more than `AFTER_MS` after the cure. In a case without a fault all are false but those of
the first `COLD_MS`. What a machine shows that others use as well (`--aside`) is counted only where it is broken.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from app.bench.pool import each, pool
from app.errors import UserError
from app.offline.replay import Memory
from app.printing import print_json, print_table
from app.settings import Settings
from app.settings import load as settings_of
from app.testing import RING, WORKER_KEY
from topics.incidents import INCIDENTS, Incident, State
from topics.proposals import PROPOSALS, Proposal
from topics.spec import Instant, Raw
from topics.telemetry import EVENTS, METRICS

COLD_MS: Final = 240_000
AFTER_MS: Final = 30_000
SAMPLES, SAID, TRUTH = ".jsonl.gz", ".events.jsonl", ".truth.json"


class Fault(msgspec.Struct):
    """What was broken."""

    entity: str


class Truth(msgspec.Struct):
    """What was done, and when (ms)."""

    start: Instant
    end: Instant
    fault: Fault | None = None
    injected: Instant = 0
    cured: Instant = 0


@dataclass(frozen=True, slots=True)
class Case:
    """A recorded case."""

    name: str
    truth: Truth
    history: list[Raw]


@dataclass(frozen=True, slots=True)
class Row:
    """What was told of a case. Of the first incident in the fault: seconds from the fault, and its best hypothesis."""

    case: str
    detected_s: float | None
    entity: str
    cause: str
    action: str
    right_entity: bool | None  # None: nothing was broken
    false_incidents: int


def load(folder: Path, name: str) -> Case:
    """A case of a folder, in the order of its stamps.

    Raises:
        UserError: a file of it is missing or cannot be read.
    """
    try:
        truth = msgspec.json.decode((folder / (name + TRUTH)).read_bytes(), type=Truth)
        raws = [*_lines(METRICS.name, gzip.decompress((folder / (name + SAMPLES)).read_bytes()))]
        events = folder / (name + SAID)
        if events.is_file():
            raws += _lines(EVENTS.name, events.read_bytes())
    except (OSError, EOFError, msgspec.DecodeError, KeyError) as error:
        raise UserError(f"case {name} cannot be read ({error})", "See the README of the recordings") from None
    return Case(name, truth, sorted(raws, key=lambda raw: raw.arrived))


def _lines(topic: str, text: bytes) -> Iterator[Raw]:
    for offset, line in enumerate(text.splitlines()):
        if line.strip():
            said = msgspec.json.decode(line)
            yield Raw(topic, 0, offset, said["entity"].encode(), line, (), int(said["ts"]))


def same(told: str, broken: str) -> bool:
    """Whether an entity is the broken one, its service, or one of its instances."""
    return told == broken or told.startswith(broken + "/") or broken.startswith(told + "/")


def judge(case: Case, incidents: list[Incident], proposals: list[Proposal], aside: frozenset[str]) -> Row:
    """The row of a case. incidents, proposals: in the order in which they were published."""
    truth, triggered = case.truth, dict[str, Incident]()
    broken = truth.fault.entity if truth.fault else ""
    for incident in incidents:
        if incident.state is State.TRIGGERED and (incident.entity not in aside or incident.entity == broken):
            triggered.setdefault(incident.id, incident)
    first, last = (truth.injected, truth.cured + AFTER_MS) if truth.fault else (truth.start + COLD_MS, 0)
    during = [i for i in triggered.values() if truth.fault and first <= i.ts <= truth.cured]
    if truth.fault:
        false = sum(not first <= i.ts <= last for i in triggered.values())
    else:
        false = sum(i.ts >= first for i in triggered.values())
    if not during:
        return Row(case.name, None, "", "", "", False if truth.fault else None, false)
    assert truth.fault is not None
    found = during[0]
    newest = [i for i in incidents if i.id == found.id and i.hypotheses and i.ts <= truth.cured]
    best = newest[-1].hypotheses[0] if newest else None
    target = best.target if best else found.entity
    action = next((p.action for p in proposals if p.incident in triggered and first <= p.ts <= truth.cured), "")
    late = round((found.ts - truth.injected) / 1000, 1)
    return Row(
        case.name, late, target, best.cause if best else "", action, same(target, truth.fault.entity), false
    )  # fmt: skip


def play(folder: Path, settings: Settings, aside: frozenset[str], name: str) -> Row:
    """Run a case through the loop, and judge it."""
    case, memory = load(folder, name), Memory(settings, WORKER_KEY, RING)
    memory.run(case.history)
    told: dict[str, list[Any]] = {
        topic.name: [read.record for read in memory.log[topic.name]] for topic in (INCIDENTS, PROPOSALS)
    }
    return judge(case, told[INCIDENTS.name], told[PROPOSALS.name], aside)


def total(rows: list[Row]) -> dict[str, object]:
    """What all cases come to: cases with a fault, detected ones, those whose entity was right, false incidents."""
    broken = [row for row in rows if row.right_entity is not None]
    return {
        "kind": "total", "cases": len(broken), "detected": sum(row.detected_s is not None for row in broken),
        "right_entity": sum(bool(row.right_entity) for row in broken),
        "false_incidents": sum(row.false_incidents for row in rows),
    }  # fmt: skip


def run(folder: Path, settings: Path | None, aside: list[str], processes: int, as_json: bool) -> None:
    """Play all cases of a folder, and print a row of each and their total."""
    names = sorted(path.name.removesuffix(TRUTH) for path in folder.glob("*" + TRUTH))
    if not names:
        raise UserError(f"{folder} holds no cases", "Give a folder with NAME.truth.json and NAME.jsonl.gz files")
    work = partial(play, folder, settings_of(settings) if settings else Settings(), frozenset(aside))
    with pool(processes) as executor:
        rows = each(executor, work, names, "playing")
    if as_json:
        for row in rows:
            print_json(row)
        print_json(total(rows))
        return
    print_table(
        "what was told of each case", ("case", "detected s", "entity", "cause", "action", "right", "false"),
        (
            (r.case, "" if r.detected_s is None else r.detected_s, r.entity, r.cause, r.action,
             {None: "", True: "yes", False: "no"}[r.right_entity], r.false_incidents)
            for r in rows
        ),
    )  # fmt: skip
    print_table("", (*total(rows),), [[*total(rows).values()]])
