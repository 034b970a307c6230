"""Recorded cases through the loop: a fault is told of its entity, what lies outside of it is false."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from app.bench.recordings import Case, Truth, judge, load, play, same, total
from app.errors import UserError
from app.settings import Settings
from tests.builders import incident
from topics.incidents import Hypothesis, Incident, State

START, INJECTED, CURED = 1_700_000_000_000, 1_700_000_180_000, 1_700_000_240_000
FAULT: dict[str, Any] = {"fault": {"entity": "shop/web/0"}, "injected": INJECTED, "cured": CURED}
TIMES: dict[str, Any] = {"start": START, "end": START + 300_000}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cases of two entities: in one the first does not answer for a minute."""
    rng = np.random.default_rng(3)
    for name, truth in (("hung", FAULT | TIMES), ("quiet", TIMES | {"fault": None})):
        lines = []
        for entity in ("shop/web/0", "shop/web/1"):
            for at in range(300):
                ts = START + 1000 * at
                down = name == "hung" and entity == "shop/web/0" and INJECTED <= ts < CURED
                metrics = {f"m{n}": float(rng.normal(50, 2)) for n in range(5)}
                metrics = {"up": 0.0, "up.refused": 0.0} if down else metrics | {"up": 1.0, "up.refused": 0.0}
                lines.append(json.dumps({"entity": entity, "ts": ts, "metrics": metrics}))
        (tmp_path / f"{name}.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
        (tmp_path / f"{name}.truth.json").write_text(json.dumps(truth))
    return tmp_path


def test_a_fault_is_told_of_its_entity_and_a_quiet_case_of_nothing(folder: Path) -> None:
    hung, quiet = (play(folder, Settings(), frozenset(), name) for name in ("hung", "quiet"))
    assert hung.detected_s is not None
    assert 0 <= hung.detected_s < 15
    assert (hung.cause, hung.right_entity, hung.false_incidents) == ("process_hung", True, 0)
    assert hung.action == "restart_service"
    assert (quiet.detected_s, quiet.right_entity, quiet.false_incidents) == (None, None, 0)
    assert total([hung, quiet]) == {
        "kind": "total", "cases": 1, "detected": 1, "right_entity": 1, "false_incidents": 0
    }  # fmt: skip


def test_samples_come_in_the_order_of_their_stamps_with_the_events(folder: Path) -> None:
    event = {"entity": "shop", "kind": "topology", "text": "", "ts": START + 1500}
    (folder / "hung.events.jsonl").write_text(json.dumps(event) + "\n\n")
    history = load(folder, "hung").history
    assert len(history) == 601
    assert [raw.arrived for raw in history] == sorted(raw.arrived for raw in history)
    assert history[4].topic == "opsloop.telemetry.events"


@pytest.mark.parametrize("ending", [".truth.json", ".jsonl.gz"])
def test_a_case_that_cannot_be_read_is_told_by_name(folder: Path, ending: str) -> None:
    (folder / f"hung{ending}").write_bytes(b"[]")
    with pytest.raises(UserError, match="case hung cannot be read"):
        load(folder, "hung")


def triggered(ts: int, entity: str, target: str, number: int) -> Incident:
    cause = Hypothesis("process_hung", target, 0.9, ())
    made = incident(state=State.TRIGGERED, entity=entity, hypotheses=(cause,))
    return msgspec.structs.replace(made, id=f"i{number}", ts=ts)


def test_what_lies_outside_of_the_fault_is_false_and_what_is_put_aside_is_not() -> None:
    said = [
        triggered(INJECTED - 1, "shop/web/0", "shop/web/0", 0),
        triggered(INJECTED - 1, "shop/host", "shop/host", 1),
        triggered(INJECTED + 2000, "shop/web/0", "shop/db/0", 2),
        triggered(CURED + 29_000, "shop/web/1", "shop/web/1", 3),
        triggered(CURED + 31_000, "shop/web/1", "shop/web/1", 4),
    ]
    case = Case("hung", msgspec.convert(FAULT | TIMES, Truth), [])
    row = judge(case, said, [], frozenset({"shop/host"}))
    assert (row.detected_s, row.entity, row.right_entity, row.false_incidents) == (2.0, "shop/db/0", False, 2)
    of_host = Case("busy", msgspec.convert(TIMES | FAULT | {"fault": {"entity": "shop/host"}}, Truth), [])
    busy = judge(of_host, [triggered(INJECTED + 2000, "shop/host", "shop/host", 6)], [], frozenset({"shop/host"}))
    assert (busy.detected_s, busy.right_entity) == (2.0, True), "it is what was broken"
    quiet = Case("quiet", msgspec.convert(TIMES, Truth), [])
    late = triggered(START + 240_000, "shop/web/1", "shop/web/1", 5)
    assert judge(quiet, [*said[:1], late], [], frozenset()).false_incidents == 1


@pytest.mark.parametrize(
    ("told", "broken", "right"),
    [
        ("shop/web/0", "shop/web/0", True), ("shop/web", "shop/web/0", True), ("shop/web/1", "shop/web", True),
        ("shop/web/1", "shop/web/0", False), ("shop/web", "shop/web-2", False),
    ],
)  # fmt: skip
def test_an_entity_is_right_when_it_is_the_broken_one_its_service_or_an_instance(
    told: str, broken: str, right: bool
) -> None:
    assert same(told, broken) is right
