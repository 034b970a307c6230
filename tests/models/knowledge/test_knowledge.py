"""Knowledge: packs together, found by what a sample shows, with a hash of what they say."""

from __future__ import annotations

import msgspec
import pytest

from app.testing import pack_of
from models.diagnosis.symptoms import Tracker
from models.knowledge.base import Condition, read
from models.knowledge.knowledge import Knowledge
from models.knowledge.packs import Packs
from models.safety.signing import Refused
from models.versions import Book
from tests.builders import GARDEN, KNOWN, NOW, sample
from tests.keys import RING
from topics.signals import Contribution

DRY = Contribution("soil.moisture", -3.0, 0.05, 0.3)


def garden(text: str = GARDEN) -> Knowledge:
    return Knowledge.of([read(text)])


def looks(knowledge: Knowledge, *shown: Contribution, count: int = 2, entity: str = "farm/bed/0") -> list[str]:
    tracker = Tracker(knowledge=knowledge)
    told = (s for n in range(count) for s in tracker.observe(sample(entity, NOW + n * 1_000, *shown)))
    return [s.symptom for s in told if s.state == "began"]


def test_the_hash_is_of_what_is_said_not_of_how_it_is_written() -> None:
    spaced = "# a comment\n" + GARDEN.replace("\n\n", "\n\n\n")
    assert garden().hash == garden(spaced).hash != garden(GARDEN.replace("0.9", "0.8")).hash
    assert Knowledge.of(reversed(KNOWN.packs)).hash == KNOWN.hash
    assert f"{KNOWN.revision:013x}" == KNOWN.hash
    assert KNOWN.revision < 2**53, "every JSON reader can hold it"


def test_a_trial_stands_for_what_holds_so_that_its_ids_are_those() -> None:
    trial = Packs([GARDEN], [GARDEN.replace("0.9", "0.8")], lambda book: garden().revision).knowledge(Book())
    assert trial.revision == garden().revision
    assert trial.hash != garden().hash


def test_a_symptom_counts_after_its_periods_whatever_they_last() -> None:
    assert looks(garden(), DRY, count=1) == []
    assert looks(garden(), DRY) == ["dry"]


def test_an_allowed_range_counts_whatever_is_ordinary_and_a_deviation_only_in_its_direction() -> None:
    assert looks(garden(), msgspec.structs.replace(DRY, value=0.11)) == []
    up = garden(GARDEN.replace("below = 0.1", 'off = "up", z = 2.0'))
    assert looks(up, DRY) == []
    assert looks(up, Contribution("soil.moisture", 3.0, 0.9, 0.3)) == ["dry"]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"off": "up", "least": 4.0}, True),
        ({"off": "up", "least": 6.0}, False),
        ({"off": "down"}, False),
        ({"off": "any", "ratio": 0.4}, True),
        ({"off": "up", "ratio": 0.6}, False),
        ({"off": "up", "z": 9.0}, False),
        ({"above": 14.9}, True),
        ({"above": 15.0}, False),
        ({"below": 15.1}, True),
        ({"off": "up", "below": 1.0}, False),
    ],
)
def test_a_condition_holds_when_everything_that_it_states_does(condition: dict[str, object], holds: bool) -> None:
    assert msgspec.convert({"signal": "x", **condition}, Condition).holds(8.0, 15.0, 10.0) is holds


def test_all_conditions_of_a_rule_must_show_in_one_sample() -> None:
    both = garden(GARDEN.replace("when = [", 'when = [{ signal = "air.heat", off = "up" }, '))
    heat = Contribution("air.heat", 9.0, 40.0, 20.0)
    assert looks(both, DRY) == looks(both, heat) == []
    assert looks(both, DRY, heat) == ["dry"]


def test_rules_of_one_symptom_are_alternatives() -> None:
    other = '[[symptoms]]\nname = "dry"\nwhen = [{ signal = "leaves.hang", off = "up", periods = 2 }]\n'
    assert looks(garden(GARDEN + other), Contribution("leaves.hang", 9.0, 1.0, 0.0)) == ["dry"]


def test_a_pack_that_names_entities_says_nothing_of_others() -> None:
    ours = garden(GARDEN.replace('kind = "bed"', 'kind = "bed"\nentities = ["farm/*"]'))
    assert looks(ours, DRY) == ["dry"]
    assert looks(ours, DRY, entity="yard/bed/0") == []


def test_what_one_rule_says_of_a_symptom_holds_for_all_and_the_rest_is_the_default() -> None:
    more = '[[symptoms]]\nname = "dry"\nweight = 0.9\nalerts = ["Dry*"]\n'
    known = garden(GARDEN + more)
    assert (known.symptom("dry").priority, known.symptom("dry").weight, known.symptom("dry").own) == (2, 0.9, True)
    assert (known.symptom("nobody_knows").priority, known.symptom("nobody_knows").own) == (3, False)
    assert (known.alert("DryBed", "farm/bed/0"), known.alert("Wet", "farm/bed/0")) == ("dry", "")


def test_alerts_of_others_are_symptoms_by_name() -> None:
    assert KNOWN.alert("PostgresqlTooManyConnections", "db-1") == "connections_exhausted"
    assert KNOWN.alert("NobodyKnowsThis", "db-1") == ""


def test_derived_signals_come_after_those_that_they_need_and_circles_are_left_out() -> None:
    text = "".join(
        f'[[signals]]\nname = "{n}"\nis = "{e}"\n'
        for n, e in (
            ("c", "b + a"),
            ("b", "a * 2"),
            ("a", "rate(x)"),
            ("d", "e"),
            ("e", "d"),
        )
    )
    assert [signal.name for signal in garden(GARDEN + text).derived] == ["a", "b", "c"]


def test_the_kind_of_an_entity_is_told_by_its_signals() -> None:
    assert KNOWN.kinds_of(["redis_up"]) == ("redis",)
    assert KNOWN.kinds_of(["nothing_known"]) == ()


def test_a_signed_version_holds_in_place_of_the_shipped_one_and_none_when_it_is_withdrawn() -> None:
    ready, book = Packs([GARDEN]), Book()
    assert ready.knowledge(book).hash == garden().hash
    assert ready.knowledge(book) is ready.knowledge(book), "it is made once"
    changed = GARDEN.replace("0.9", "0.8")
    book.take(pack_of(changed), RING, ready.check, NOW)
    assert ready.knowledge(book).hash == garden(changed).hash
    book.take(pack_of(changed, version=1, ts=NOW + 9, active=False), RING, ready.check, NOW)
    assert ready.knowledge(book).packs == ()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"source": "nonsense"}, "invalid_pack"),
        ({"name": "other"}, "invalid_pack"),
        ({"by": "vera"}, "wrong_role"),
        ({"ts": NOW + 3_600_000}, "clock_ahead"),
    ],
)
def test_what_is_no_pack_or_by_nobody_who_may_does_not_hold(changes: dict[str, object], code: str) -> None:
    ready, book = Packs([]), Book()
    by = str(changes.pop("by", "ada"))
    source = str(changes.pop("source", GARDEN))
    word = pack_of(source, by=by, **{"name": "garden", **changes})
    with pytest.raises(Refused) as refused:
        book.take(word, RING, ready.check, NOW)
    assert refused.value.code == code
    assert ready.knowledge(book).packs == ()


def test_a_signature_of_a_pack_is_none_of_a_policy() -> None:
    from models.versions import author
    from topics.policies import Policy

    word = pack_of(GARDEN)
    forged = msgspec.convert(msgspec.to_builtins(word), Policy)
    assert author(word, RING).name == "ada"
    with pytest.raises(Refused, match="ada"):
        author(forged, RING)


def test_a_pack_with_rules_of_its_own_for_a_symptom_explains_it_only_where_they_show_it() -> None:
    meadow = GARDEN.replace("garden", "meadow").replace("soil.moisture", "grass.colour").replace("no_rain", "no_water")
    cause = '[[causes]]\nname = "a_long_summer"\nexplains = ["dry"]\nscore = 0.3\n'
    weather = '[pack]\nname = "weather"\nkind = "sky"\n' + cause
    known = Knowledge.of([read(GARDEN), read(meadow), read(weather)])
    named = {series: [c.name for _, c in known.causes("dry", series)] for series in ("soil.moisture", "grass.colour")}
    assert named == {"soil.moisture": ["no_rain", "a_long_summer"], "grass.colour": ["no_water", "a_long_summer"]}
