"""Records as sentences and tables for a person."""

from __future__ import annotations

import io
import json
import re

import msgspec
import pytest
from rich.console import Console

from app.cli import incidents
from app.history.render import details, sentence
from app.kafka.embedded import Embedded
from models.decision.advisor import Advisor, Bounds
from models.decision.base import Case, DecisionKind
from tests.builders import KNOWN, NOW, SAMPLES, approval, decision, hypothesis, incident, proposal, signed
from tests.histories import write
from tests.keys import WORKER_KEY
from topics.policies import PolicyResult
from topics.spec import Record

NASTY = "[/bold] [red]x[/nope] \\"


def printed(text: str) -> str:
    out = io.StringIO()
    Console(file=out, width=10_000, highlight=False).print(text)
    return out.getvalue()


TOLD = {
    "opsloop.signals.anomalies": r"anomaly shop/catalog/0: http\.server\.own_duration\.p95 0\.5 \(expected 0\.02, z",
    "opsloop.incidents": r"incident triggered \(detected\) down of shop/catalog/0; process_gone of shop/catalog/0 0",
    "opsloop.proposals": r"proposal restart_service on shop/catalog/0 0\.96: process_gone .*; not: scale_out on",
    "opsloop.decisions": r"decision dispatched restart_service on shop/catalog/0: mode approve",
    "opsloop.approvals": r"vote ana: approve seen it before",
    "opsloop.actions.commands": r"command c1 restart_service on shop/catalog/0, valid until \d\d:\d\d:\d\d",
    "opsloop.actions.results": r"result succeeded: done",
    "opsloop.verdicts": r"verdict ineffective: no symptom for 2\.5 s",
}


@pytest.mark.parametrize("topic", TOLD)
def test_a_record_is_told_in_one_sentence(topic: str) -> None:
    assert re.match(TOLD[topic], printed(sentence(SAMPLES[topic])))


@pytest.mark.parametrize(
    "record",
    [
        approval(decision(), reason=NASTY),
        decision(reasons=(NASTY,)),
        proposal(reasons=(NASTY,), alternatives=(NASTY,)),
        incident(entity=NASTY, hypotheses=(msgspec.structs.replace(hypothesis(), reasons=(NASTY,)),)),
    ],
    ids=lambda record: type(record).__name__,
)
def test_brackets_in_what_somebody_wrote_are_shown_and_not_obeyed(record: Record) -> None:
    assert NASTY in printed(sentence(record))


def test_behind_a_proposal_stand_its_options_with_scores_chances_and_why_not() -> None:
    case = Case(
        id="i1", kind=DecisionKind.INCIDENT_RESPONSE, hypotheses=(hypothesis("bad_configuration"),), incident="i1"
    )
    made = Advisor(knowledge=KNOWN).propose(case, (), Bounds(), NOW)
    assert made is not None
    best, other, circumstances, asked = map(printed, details(made))
    assert re.match(r"option rollback_config on shop/catalog: sure 0\.95, score .*reliability \+.*1\.00: chosen", best)
    assert re.match(r"option restart_service on .*: sure 0\.29, .*, chance 0\.00: less sure", other)
    assert "incident_response, decided under busy 0, load 1, cost 1" in circumstances
    assert asked.strip() == "asked for by decide, not signed"
    *_, asked = map(printed, details(signed(made, expects="http.*")))
    assert f"asked for by decide, signed by key {WORKER_KEY.key[:8]}, counts until" in asked


def test_behind_a_decision_stand_its_tier_its_votes_and_each_policy() -> None:
    said = PolicyResult("night", 2, "operational", "require_approval", True, (f"it is {NASTY}",))
    made = decision(policy=(said,), required_role="lead", quorum=2)
    held, policy = map(printed, details(made))
    assert "mode approve, confidence 0.96, wants 2 × lead" in held
    assert f"policy night v2 (operational): require_approval: it is {NASTY}" in policy


def test_behind_a_vote_and_a_command_stands_what_was_signed() -> None:
    (vote,), (command,) = details(SAMPLES["opsloop.approvals"]), details(SAMPLES["opsloop.actions.commands"])
    assert "signed by key" in vote
    assert "for supervisor/shop; decision" in command
    assert "signature" in command


def test_tables_show_brackets_too(embedded: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr("app.printing.out", Console(file=out, width=200, highlight=False))
    write(embedded.broker, [incident(entity="[/red]", hypotheses=()), decision(reasons=("[/red]",))])
    incidents.incidents(broker=embedded.bootstrap)
    incidents.decisions(broker=embedded.bootstrap)
    assert out.getvalue().count("[/red]") == 2


def test_a_table_shows_the_newest_and_says_so_and_json_has_all(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr("app.printing.out", Console(file=out, width=200, highlight=False))
    monkeypatch.setattr(incidents, "err", Console(file=err, width=200, highlight=False))
    write(embedded.broker, [incident(id=f"i{n:02}", onset=NOW + n) for n in range(60)])
    incidents.incidents(broker=embedded.bootstrap)
    rows = [line.split()[0] for line in out.getvalue().splitlines() if line.startswith("i") and line[1].isdigit()]
    assert rows == [f"i{n:02}" for n in range(59, 9, -1)]
    assert "the newest 50 of 60" in err.getvalue()
    incidents.incidents(broker=embedded.bootstrap, json=True)
    assert len(json.loads(capsys.readouterr().out)) == 60
    incidents.incidents(broker=embedded.bootstrap, json=True, last=2)
    assert [row["id"] for row in json.loads(capsys.readouterr().out)] == ["i59", "i58"]
