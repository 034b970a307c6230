"""`opsloop doctor`: what is wrong here, and how to mend it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING

import typer

from app.cli.options import BrokerOption, JsonOption, broker_of
from app.errors import UserError
from app.printing import escaped, marked, out, print_json

if TYPE_CHECKING:
    from app.ingest.settings import IngestSettings
    from app.kafka.broker import Broker
    from app.kafka.doctor import CheckResult

SEEN_MS = 300_000  # so far back is looked for what a pattern could match
SEEN_MOST = 50_000  # and at so many samples
MARKS = {"ok": "[green]ok[/green]    ", "note": "[yellow]note[/yellow]  ", "failed": "[red]failed[/red]"}


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(broker: BrokerOption = "", json: JsonOption = False) -> None:
    """Look at this installation and its broker. Exit code 1 when something needs you.

    Example: `opsloop doctor --broker kafka-1:9092`
    """
    from app.kafka.doctor import examine
    from app.settings import load

    findings, where, settings = [], broker_of(broker), load().ingest
    told = (
        examine(where, settings), _standing(where), _scopes(where), _packs(where), _templates(where, settings),
    )  # fmt: skip
    for finding in chain(*told):
        findings.append(finding)
        if not json:
            out.print(marked(f"{MARKS[finding.state]} {escaped(f'{finding.what}: {finding.detail}')}"))
            if finding.remedy:
                out.print(f"       {finding.remedy}", markup=False, style="dim")
    if json:
        print_json(findings)
    if any(finding.state == "failed" for finding in findings):
        raise typer.Exit(1)


def _standing(broker: Broker) -> Iterator[CheckResult]:
    """What stops acting: the kill switch and maintenance, by the topic where it answers, and by this host's file."""
    from app.kafka.broker import probe
    from app.kafka.doctor import CheckResult
    from app.security.standing import Standing, by_file, standing
    from app.settings import home

    try:
        stands = Standing("", by_file(home()), {}) if probe(broker, 2.0) else standing(broker, home())
    except UserError:
        stands = Standing("", by_file(home()), {})  # the missing topic is a finding of its own
    remedy = "An admin turns it off: opsloop kill-switch off"
    yield (
        CheckResult("kill switch", "note", f"on: {stands.killed}", remedy)
        if stands.killed
        else CheckResult("kill switch", "ok", "off")
    )
    for scope, until in sorted(stands.maintenance.items()):
        detail = f"nothing is changed within {scope} until {datetime.fromtimestamp(until / 1000).astimezone():%F %T}"
        yield CheckResult("maintenance", "note", detail, f"End it: opsloop maintenance {scope} --minutes 0")


def _scopes(broker: Broker) -> Iterator[CheckResult]:
    """Scopes of the settings that cover nothing that sends."""
    from app.history.entities import WITHIN_S, recent
    from app.kafka.broker import probe
    from app.kafka.doctor import CheckResult
    from app.settings import load
    from topics.patterns import covers

    safety = load().safety
    wanted = dict.fromkeys((*safety.scopes, *safety.environments, *(freeze.scope for freeze in safety.freezes)))
    if not wanted or probe(broker, 2.0):
        return
    with contextlib.suppress(UserError):  # the missing topic is a finding of its own
        seen = recent(broker).names
        for scope in wanted:
            if seen and not any(covers(scope, name) for name in seen):
                detail = f"{scope!r} of [safety] covers nothing that sent something in the last {WITHIN_S} s"
                yield CheckResult("scope", "note", detail, "Scopes are entities with all within, or globs: shop, */db")


def _packs(broker: Broker) -> Iterator[CheckResult]:
    """What is wrong with the packs that hold together, and patterns of signed ones that match nothing that comes."""
    from app.clock import now_ms
    from app.kafka.broker import probe
    from app.kafka.doctor import CheckResult
    from app.knowledge.recordings import series_of, told
    from app.knowledge.store import PackStore
    from app.knowledge.store import load as packs_of
    from app.security.keys import Keys
    from app.settings import home
    from app.shipped import packs
    from models.actions.catalogue import ACTIONS
    from models.knowledge.checks import flaws, unseen
    from models.knowledge.knowledge import Knowledge

    answers = not probe(broker, 2.0)
    try:
        store = packs_of(broker, Keys(home())) if answers else PackStore(packs())
    except UserError:
        store, answers = PackStore(packs()), False  # the missing topic is a finding of its own
    held = store.packs()
    found = list(flaws(held, ACTIONS))
    yield from (CheckResult("packs", "failed", str(flaw), flaw.remedy) for flaw in found)
    own = [pack for pack in held if store.holds(pack.name)]
    if own and answers:
        with contextlib.suppress(UserError):  # without samples there is nothing to compare with
            seen = {s for all_ in series_of(told(broker, now_ms() - SEEN_MS, SEEN_MOST)).values() for s in all_}
            idle = [flaw for pack in own for flaw in unseen(pack, seen, held)]
            yield from (CheckResult("packs", "note", str(flaw), flaw.remedy) for flaw in idle)
    if not found:
        yield CheckResult("packs", "ok", f"{len(held)} hold, {len(own)} of them signed here; {Knowledge.of(held).hash}")


def _templates(broker: Broker, settings: IngestSettings) -> Iterator[CheckResult]:
    """Templates of entities that have named nothing that is there."""
    from app.kafka.broker import probe
    from app.kafka.doctor import CheckResult
    from app.knowledge.entities import known

    if not settings.entities or probe(broker, 2.0):
        return
    try:
        used = {entity.template for entity in known(broker)}
    except UserError:
        return  # the missing topic is a finding of its own
    for number, rule in enumerate(settings.entities, 1):
        name = f"[[ingest.entities]] {number}"
        if rule.entity in used:
            yield CheckResult(name, "ok", f"{rule.entity} names entities")
        else:
            remedy = "Compare its labels and `when` with what is sent, or leave it out"
            yield CheckResult(name, "note", f"{rule.entity} has matched nothing that was seen", remedy)
