"""Ranking: the deepest that hurts explains its callers, and what has just changed is a suspect."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.diagnosis.current import Current
from models.diagnosis.hypotheses import rank
from models.topology.calls import Calls, Network
from tests.builders import BUSY, CATALOG, HURTS, KNOWN, NOW, deploy, symptom
from topics.incidents import Hypothesis, SymptomKind
from topics.signals import Symptom
from topics.telemetry import Event

CALLS: Calls = {"shop/gateway": ("shop/catalog", "shop/cart"), "shop/catalog": ("shop/db",), "shop/cart": ("shop/db",)}
CHANGE_WINDOW_MS = 180_000
BY_SYMPTOM = {
    symptom: next(c for _, c in KNOWN.causes(symptom, HURTS[symptom].metric) if not c.change and not c.confirmed_by)
    for symptom in SymptomKind
}
CHANGED = [SymptomKind.LATENCY, SymptomKind.ERRORS, SymptomKind.SATURATION]


def seen(kind: SymptomKind, entity: str = CATALOG, onset: int = NOW) -> Symptom:
    return symptom(kind, entity, onset)


def ranked(
    *symptoms: Symptom, changes: Iterable[Event] = (), calls: Calls = CALLS, busy: str = ""
) -> tuple[Hypothesis, ...]:
    current = Current(knowledge=KNOWN)
    if busy:
        current.take(symptom(SymptomKind.LATENCY, busy, attribution=(BUSY,)))
    return rank(symptoms, current, calls, list(changes))


@pytest.mark.parametrize("symptom", SymptomKind, ids=str)
def test_each_symptom_alone_points_to_its_cause(symptom: SymptomKind) -> None:
    cause = BY_SYMPTOM[symptom]
    (only,) = ranked(seen(symptom))
    assert (only.cause, only.score) == (cause.name, cause.score)
    assert only.target == (CATALOG if cause.target == "entity" else "shop/catalog")
    assert HURTS[symptom].metric in only.reasons[0]
    assert only.reasons[1] == cause.why


def test_no_symptom_no_hypothesis() -> None:
    assert ranked(changes=[deploy("shop/catalog", NOW)]) == ()


@pytest.mark.parametrize("symptom", CHANGED, ids=str)
def test_a_change_just_before_is_the_best_explanation_of_what_a_change_can_do(symptom: SymptomKind) -> None:
    best, *others = ranked(seen(symptom), changes=[deploy("shop/catalog", NOW - 5_000, "7", "6")])
    assert (best.cause, best.target) == ("bad_configuration", "shop/catalog")
    assert best.reasons[1] == "shop/catalog changed from 6 to 7 5.0 s before"
    assert all(best.score > other.score for other in others)


@pytest.mark.parametrize("symptom", sorted(set(SymptomKind) - set(CHANGED)), ids=str)
def test_a_change_explains_nothing_else(symptom: SymptomKind) -> None:
    assert [h.cause for h in ranked(seen(symptom), changes=[deploy("shop/catalog", NOW - 5_000)])] == [
        BY_SYMPTOM[symptom].name
    ]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (deploy("shop/cart", NOW - 5_000), "another service"),
        (deploy("shop/catalog", NOW - CHANGE_WINDOW_MS - 1), "too old"),
        (deploy("shop/catalog", NOW + 2_001), "later"),
        (deploy("shop/catalog", NOW - 5_000, previous=""), "nothing to return to"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_change_is_no_suspect_when_it_cannot_have_done_it(change: Event, why: str) -> None:
    assert [h.cause for h in ranked(seen(SymptomKind.ERRORS), changes=[change])] == ["faulty_state"], why


def test_a_rollback_is_no_suspect() -> None:
    there, back = deploy("shop/catalog", NOW - 60_000, "7", "6"), deploy("shop/catalog", NOW - 5_000, "6", "7")
    assert ranked(seen(SymptomKind.ERRORS), changes=[there])[0].cause == "bad_configuration"
    assert [h.cause for h in ranked(seen(SymptomKind.ERRORS), changes=[there, back])] == ["faulty_state"]


def test_the_weight_of_a_change_falls_with_its_age() -> None:
    scores = [
        ranked(seen(SymptomKind.LATENCY), changes=[deploy("shop/catalog", NOW - age)])[0].score
        for age in (0, 10_000, 60_000, CHANGE_WINDOW_MS)
    ]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(scores)
    assert scores[0] == pytest.approx(0.97)
    assert scores[-1] == pytest.approx(0.82)


def test_the_last_of_several_changes_is_the_suspect() -> None:
    changes = [deploy("shop/catalog", NOW - 60_000, "7", "6"), deploy("shop/catalog", NOW - 5_000, "8", "7")]
    assert "from 7 to 8" in ranked(seen(SymptomKind.LATENCY), changes=changes)[0].reasons[1]


@pytest.mark.parametrize("symptom", [SymptomKind.LATENCY, SymptomKind.SATURATION], ids=str)
def test_more_requests_than_usual_are_an_overload(symptom: SymptomKind) -> None:
    best, *_ = ranked(seen(symptom), busy=CATALOG)
    assert (best.cause, best.target, best.score) == ("overload", "shop/catalog", 0.94)
    assert best.reasons[1] == f"http.server.request_rate of {CATALOG} is 90, expected 30"
    assert "overload" not in {h.cause for h in ranked(seen(SymptomKind.ERRORS), busy=CATALOG)}


def test_a_change_just_before_outweighs_the_load() -> None:
    found = ranked(seen(SymptomKind.LATENCY), busy=CATALOG, changes=[deploy("shop/catalog", NOW - 5_000)])
    assert [h.cause for h in found] == ["bad_configuration", "overload", "slowness"]


@pytest.mark.parametrize("felt", [SymptomKind.DEPENDENCY, SymptomKind.LATENCY, SymptomKind.SATURATION], ids=str)
def test_a_service_that_hurts_by_itself_explains_its_callers_far_and_near(felt: SymptomKind) -> None:
    found = ranked(seen(SymptomKind.MEMORY, "shop/db/0"), seen(felt, "shop/gateway/0"), seen(felt, "shop/cart/0"))
    assert (found[0].cause, found[0].target) == ("memory_leak", "shop/db/0")
    own = BY_SYMPTOM[felt].score
    assert {h.target: h.score for h in found[1:]} == {"shop/gateway": own / 2, "shop/cart": own / 2}


def test_a_caller_never_explains_what_it_calls() -> None:
    found = ranked(seen(SymptomKind.ERRORS, "shop/gateway/0"), seen(SymptomKind.LATENCY, "shop/db/0"))
    assert {h.target: h.score for h in found}["shop/db"] == BY_SYMPTOM[SymptomKind.LATENCY].score


def test_a_caller_that_is_gone_is_not_explained_by_what_it_calls() -> None:
    found = ranked(seen(SymptomKind.DOWN, "shop/gateway/0"), seen(SymptomKind.MEMORY, "shop/db/0"))
    assert [h.target for h in found] == ["shop/gateway/0", "shop/db/0"]


def test_of_equals_the_deepest_in_the_calls_comes_first_and_then_the_name() -> None:
    entities = ["shop/gateway/0", "shop/catalog/1", "shop/catalog/0", "shop/cart/0", "shop/db/0"]
    found = ranked(*(seen(SymptomKind.DOWN, e) for e in entities))
    assert [h.target for h in found] == [
        "shop/db/0", "shop/cart/0", "shop/catalog/0", "shop/catalog/1", "shop/gateway/0",
    ]  # fmt: skip


@given(st.randoms(use_true_random=False))
def test_the_order_in_which_symptoms_were_seen_changes_nothing(rng: random.Random) -> None:
    symptoms = [seen(s, f"shop/{name}/0") for s in SymptomKind for name in ("gateway", "catalog", "cart", "db")]
    expected = ranked(*symptoms, changes=[deploy("shop/catalog", NOW - 9_000)], busy=CATALOG)
    rng.shuffle(symptoms)
    assert ranked(*symptoms, changes=[deploy("shop/catalog", NOW - 9_000)], busy=CATALOG) == expected
    assert all(0 <= h.score <= 1 for h in expected)
    assert len({(h.cause, h.target) for h in expected}) == len(expected)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("shop/gateway", "shop/gateway", True), ("shop/gateway", "shop/db", True), ("shop/db", "shop/gateway", True),
     ("shop/cart", "shop/catalog", False), ("shop/gateway", "shop/mail", False)],
)  # fmt: skip
def test_services_are_related_when_a_fault_of_one_is_felt_by_the_other(one: str, other: str, expected: bool) -> None:
    assert (other in Network([CALLS]).related(one)) is expected


def test_services_that_call_each_other_in_a_ring_come_to_an_end() -> None:
    ring = {"a/x": ("a/y",), "a/y": ("a/z",), "a/z": ("a/x",)}
    assert "a/z" in Network([ring]).related("a/x")
    found = ranked(seen(SymptomKind.DOWN, "a/x/0"), seen(SymptomKind.DOWN, "a/y/0"), calls=ring)
    assert [h.target for h in found] == ["a/x/0", "a/y/0"]


def test_hypotheses_are_data() -> None:
    found = ranked(seen(SymptomKind.LATENCY), changes=[deploy("shop/catalog", NOW)])
    assert msgspec.json.decode(msgspec.json.encode(found), type=tuple[Hypothesis, ...]) == found


def rolled_out(*revisions: str) -> list[Event]:
    """One change after another, from each of the revisions to the next; the last one was 5 s ago."""
    steps = list(itertools.pairwise(revisions))
    return [
        deploy("shop/catalog", NOW - 5_000 * (len(steps) - at), new, old) for at, (old, new) in enumerate(steps)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("revisions", "suspect"),
    [("12", True), ("121", False), ("1212", True), ("12121", False), ("123", True), ("1231", False), ("12312", True),
     ("12313", True), ("1213", True), ("12131", False), ("12132", True)],
)  # fmt: skip
def test_a_bad_revision_is_a_suspect_each_time_it_is_rolled_out(revisions: str, suspect: bool) -> None:
    best, *_ = ranked(seen(SymptomKind.ERRORS), changes=rolled_out(*revisions))
    assert (best.cause == "bad_configuration") is suspect


@pytest.mark.parametrize(
    "calls",
    [{"shop/catalog": ("shop/catalog",)}, {"shop/catalog": ("shop/db",), "shop/db": ("shop/catalog",)}],
    ids=["itself", "a circle"],
)  # fmt: skip
def test_no_service_explains_itself_through_its_own_calls(calls: Calls) -> None:
    one, other = seen(SymptomKind.LATENCY), seen(SymptomKind.LATENCY, "shop/db/0")
    assert ranked(one, calls=calls)[0].score == BY_SYMPTOM[SymptomKind.LATENCY].score
    assert {h.score for h in ranked(one, other, calls=calls)} == {BY_SYMPTOM[SymptomKind.LATENCY].score}
