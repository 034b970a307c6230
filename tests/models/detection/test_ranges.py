"""Allowed ranges of packs: told from the first value on, of the entities that a pack is about; settings come first."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from agents._partition import through
from agents.decode import Decode, chunk_of
from agents.detect import Detect
from models.detection.settings import DetectionSettings, Pattern
from tests.packs import said
from tests.topics.test_rates import SECOND, START, numbered, sent
from topics.batch import HOUR_MS, Names
from topics.meanings import NOTHING, Meanings
from topics.signals import Anomaly
from topics.spec import Raw


def rule(signal: str, text: str, name: str = "full") -> str:
    return f"[[symptoms]]\nname = \"{name}\"\nwhen = [{{ signal = '{signal}', {text} }}]\n"


def pack(*tables: str, entities: str = "") -> str:
    limit = f'entities = ["{entities}"]\n' if entities else ""
    return f'[pack]\nname = "test"\nkind = "thing"\n{limit}' + "".join(tables)


FULL = said(pack(rule('disk.used{path="/*"}', "above = 0.9, periods = 2")))


def told(
    log: Sequence[Raw], meanings: Meanings, *patterns: Pattern, cut: int = 0, restart: bool = False
) -> list[Anomaly]:
    """What ranges say of a log."""
    settings, found, log = DetectionSettings(patterns), list[Anomaly](), numbered(log)
    stages = [Decode(Names(meanings=meanings)), Detect(settings)]
    for at in range(0, len(log), cut or len(log)):
        found += through(stages, chunk_of(log[at : at + (cut or len(log))]), 0)  # type: ignore[arg-type]
        if restart:
            states = [stage.snapshot() for stage in stages]
            stages = [Decode(), Detect(settings)]
            for stage, state in zip(stages, states, strict=True):
                stage.restore(state)
            assert [stage.snapshot() for stage in stages] == states
    return [anomaly for anomaly in found if anomaly.detector == "range"]


def disk(*values: float, entity: str = "db", name: str = 'disk.used{path="/x"}') -> list[Raw]:
    return [sent(START + at * 10 * SECOND, {name: value, "other": 1.0}, entity) for at, value in enumerate(values)]


@pytest.mark.parametrize(("cut", "restart"), [(0, False), (1, False), (1, True), (3, True)])
def test_a_disk_that_is_full_at_its_first_sample_is_told_at_once_and_until_it_is_not(cut: int, restart: bool) -> None:
    found = told(disk(0.99, 0.99, 0.95, 0.5, 0.5, 0.5, 0.5), FULL, cut=cut, restart=restart)
    assert [(a.state, (a.ts - START) // SECOND, a.value) for a in found] == [
        ("raised", 0, 0.99), ("continuing", 10, 0.99), ("continuing", 20, 0.95), ("cleared", 50, 0.5),
    ]  # fmt: skip
    first = found[0]
    assert (first.view, first.entity, first.direction, first.expected, first.high) == ("second", "db", "up", 0.9, 0.9)
    assert [(c.metric, c.value, c.expected) for c in first.attribution] == [('disk.used{path="/x"}', 0.99, 0.9)]
    assert len({a.id for a in found}) == 1


def test_a_range_of_a_derived_signal_and_of_a_rate_is_held_as_well() -> None:
    text = pack('[[signals]]\nname = "share"\nis = "a / b"\n', rule("share", "above = 0.9"),
                rule("rate(lost_total)", "above = 1.0", "loses"))  # fmt: skip
    log = [sent(START + at * SECOND, {"a": 95.0, "b": 100.0, "lost_total": 5.0 * at}) for at in range(2)]
    found = told(log, said(text))
    assert [(a.metric, a.value) for a in found] == [("share", 0.95), ("lost.rate", 5.0), ("share", 0.95)]


@pytest.mark.parametrize(
    ("tables", "value", "out"),
    [
        ((rule("disk.used", "below = 0.2"),), 0.1, (0.2, "down")),
        ((rule("disk.used", "above = 0.9"), rule("disk.used", "above = 0.8", "near")), 0.85, (0.8, "up")),
        ((rule("disk.used", 'above = 0.9, off = "up"'),), 0.99, None),  # it has to deviate besides
        ((rule("disk.used", "above = 0.2, below = 0.5"),), 0.99, None),  # wrong between them: no range is allowed
        ((rule("disk.used", "above = 0.2, below = 0.5"),), 0.3, None),
        ((rule("disk.u*", "above = 0.9"),), 0.99, (0.9, "up")),
        ((rule('disk.used{path="/y"}', "above = 0.9"),), 0.99, None),
    ],
)
def test_what_a_condition_allows(tables: tuple[str, ...], value: float, out: tuple[float, str] | None) -> None:
    found = told(disk(value), said(pack(*tables)))
    assert [(a.expected, a.direction) for a in found] == ([out] if out else [])


def test_a_rule_for_which_another_series_has_to_deviate_allows_everything_by_itself() -> None:
    both = '[[symptoms]]\nname = "full"\nwhen = [{ signal = "disk.used", above = 0.9 }, { signal = "x", off = "up" }]\n'
    assert told(disk(0.99), said(pack(both))) == []


def test_a_pack_speaks_of_its_own_entities_alone() -> None:
    mine = said(pack(rule("disk.used", "above = 0.9"), entities="shop/*"))
    found = told([*disk(0.99, entity="shop/db"), *disk(0.99, entity="farm/db")], mine)
    assert [a.entity for a in found] == ["shop/db"]


def test_what_settings_say_of_a_side_counts_and_not_what_a_pack_says() -> None:
    assert told(disk(0.95), FULL, Pattern(metrics="disk.used*", high=0.97)) == []
    assert [a.high for a in told(disk(0.7), FULL, Pattern(metrics="disk.used*", high=0.6))] == [0.6]
    assert [a.high for a in told(disk(0.95), FULL, Pattern(metrics="disk.used*", low=0.1))] == [0.9], "the other side"


def test_packs_that_change_while_an_alarm_is_on_end_it() -> None:
    now = [FULL]
    stages, log = [Decode(None, lambda: now[0]), Detect()], numbered(disk(*[0.99] * 8))
    found = []
    for at, raw in enumerate(log):
        now[0] = FULL if at < 2 else NOTHING if at < 6 else said(pack(rule("disk.used", "above = 0.95")))
        found += through(stages, chunk_of([raw]), 0)  # type: ignore[arg-type]
    assert [(a.state, a.ts - START) for a in found if a.detector == "range"] == [
        ("raised", 0), ("continuing", 10 * SECOND), ("cleared", 40 * SECOND), ("raised", 60 * SECOND),
        ("continuing", 70 * SECOND),
    ]  # fmt: skip


def test_a_series_without_a_range_costs_no_look() -> None:
    detect = Detect()
    list(through([Decode(Names(meanings=FULL)), detect], chunk_of(numbered(disk(0.99, name="other.used"))), 0))
    ranges = detect.model.ranges
    assert (ranges.bound, ranges.out, ranges.state.tolist()) == (0, {}, [0, 0])


def test_a_number_that_is_used_again_is_held_against_its_own_range() -> None:
    stages = [Decode(Names(meanings=FULL, ttl_hours=1)), Detect()]
    log = [*disk(0.99, entity="old"), *(sent(START + at * HOUR_MS, {"x": 1.0}, "keeps") for at in range(1, 6))]
    log += [sent(START + 5 * HOUR_MS + 1, {"p": 0.99, 'disk.used{path="/n"}': 0.3}, "new")]
    found = [a for a in through(stages, chunk_of(numbered(log)), 0) if isinstance(a, Anomaly)]  # type: ignore[arg-type]
    assert [a.entity for a in found if a.detector == "range"] == ["old"]
    ranges = stages[1].model.ranges  # type: ignore[attr-defined]
    assert (ranges.bound, set(ranges.out)) == (1, set())
