"""Bad packs: each fault is told once, with its place and what to do."""

from __future__ import annotations

import pytest

from app.shipped import packs
from models.actions.catalogue import ACTIONS
from models.knowledge.base import Pack, PackFault, read
from models.knowledge.checks import Flaw, flaws, unseen
from models.knowledge.packs import Packs
from tests.builders import GARDEN

SHIPPED = [packs().load(text) for text in packs().shipped.values()]


def told(*texts: str) -> list[Flaw]:
    return list(flaws([read(text) for text in texts], ACTIONS))


def garden(**parts: str) -> str:
    """The pack of the garden with parts of its text replaced: each as `old=new` of a word."""
    text = GARDEN
    for old, new in parts.items():
        assert old in text
        text = text.replace(old, new)
    return text


def test_the_shipped_packs_have_no_fault_and_go_together() -> None:
    assert [str(flaw) for flaw in flaws(SHIPPED, ACTIONS)] == []
    assert len(SHIPPED) == 11


FAULTS = {
    "unknown action": (
        garden(restart_service="restart_servce"),
        "garden: cures no_rain: there is no action restart_servce",
        "Did you mean restart_service?",
    ),
    "unknown cause": (
        GARDEN.replace('cause = "no_rain"', 'cause = "no_rian"'),
        "garden: cures no_rian: no pack knows the cause no_rian",
        "Did you mean no_rain?",
    ),
    "unknown symptom": (
        GARDEN.replace('explains = ["dry"]', 'explains = ["drry"]'),
        "garden: causes no_rain: no pack knows the symptom drry",
        "Did you mean dry?",
    ),
    "nothing bound": (
        GARDEN.replace(", below = 0.1", ""),
        "garden: symptoms dry (1): soil.moisture is not bound to anything",
        "Give off, above or below",
    ),
    "impossible range": (
        GARDEN.replace("below = 0.1", "below = 0.1, above = 0.5"),
        "garden: symptoms dry (1): soil.moisture cannot be above 0.5 and below 0.1",
        "write two rules",
    ),
    "no condition": (
        GARDEN.replace('when = [{ signal = "soil.moisture", below = 0.1, periods = 2 }]\n', ""),
        "garden: symptoms dry (1): nothing says when it shows",
        "`alerts`",
    ),
    "attributes": (
        GARDEN.replace('"soil.moisture"', "'soil{bed=1}'"),
        "garden: symptoms dry (1): the attributes of soil{bed=1} cannot be read",
        'name{attribute="value"}',
    ),
    "parameter": (
        GARDEN + 'parameters = { replicas = "2" }\n',
        "garden: cures no_rain: restart_service has no parameter 'replicas'",
        "Mend the parameters",
    ),
    "expression": (
        GARDEN + '[[signals]]\nname = "a"\nis = "x +"\n',
        "garden: signals a: 'x +': it ends where a name or a number should follow",
        "Use + - * /",
    ),
    "no name": (
        GARDEN + '[[signals]]\nname = "a"\nis = "1 + 1"\n',
        "garden: signals a: it names no signal",
        "Name the",
    ),
    "cycle": (
        GARDEN + '[[signals]]\nname = "a"\nis = "b + 1"\n[[signals]]\nname = "b"\nis = "c"\n'
        '[[signals]]\nname = "c"\nis = "x / a"\n',
        "garden: signals a: it needs itself: a → b → c → a",
        "Write c without a",
    ),
    "no bound": (
        GARDEN + '[[slos]]\nname = "moist"\nsignal = "soil.moisture"\nobjective = 0.9\n',
        "garden: slos moist: it has no bound",
        "above or below",
    ),
}


@pytest.mark.parametrize(("text", "what", "remedy"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_told_once_with_its_place_and_the_remedy(text: str, what: str, remedy: str) -> None:
    (flaw,) = told(text)
    assert str(flaw) == what
    assert remedy in flaw.remedy
    assert "\n" not in str(flaw) + flaw.remedy


OTHER = garden(garden="meadow")
CLASHES = {
    "confidence": (OTHER.replace("confidence = 0.9", "confidence = 0.8"), "meadow: cures no_rain by restart_service"),
    "priority": (OTHER.replace("priority = 2", "priority = 1"), "meadow: symptoms dry.priority"),
    "score": (OTHER.replace("score = 0.9", "score = 0.5"), "meadow: causes no_rain of dry"),
}


@pytest.mark.parametrize(("text", "place"), CLASHES.values(), ids=CLASHES)
def test_what_two_packs_say_differently_is_a_clash(text: str, place: str) -> None:
    (flaw,) = told(GARDEN, text)
    assert str(flaw) == f"{place}: garden says something else of it"
    assert "rename it in meadow" in flaw.remedy


def test_what_two_packs_say_alike_is_none() -> None:
    assert told(GARDEN, OTHER) == []


def test_an_alert_or_a_derived_signal_means_one_thing() -> None:
    alerts = 'alerts = ["Dry"]\npriority = 2'
    one, other = (
        GARDEN.replace("priority = 2", alerts),
        OTHER.replace("priority = 2", alerts).replace('"dry"', '"arid"'),
    )
    assert [flaw.place for flaw in told(one, other)] == ["meadow: alerts Dry"]
    signal = '[[signals]]\nname = "a"\nis = "{}"\n'
    assert [flaw.place for flaw in told(GARDEN + signal.format("x"), OTHER + signal.format("y"))] == [
        "meadow: signals a"
    ]


def test_two_packs_of_one_name_are_told() -> None:
    assert [str(flaw) for flaw in told(GARDEN, GARDEN)] == ["garden: pack: two packs have this name"]


def test_a_pattern_that_matches_nothing_seen_is_told_with_what_is_near() -> None:
    pack = read(GARDEN)
    assert list(unseen(pack, ["soil.moisture", "x"])) == []
    (flaw,) = unseen(pack, ["soil.moistur", "x"])
    assert str(flaw) == "garden: symptoms dry: soil.moisture matches nothing that was seen"
    assert flaw.remedy == "Did you mean soil.moistur?"
    (other,) = unseen(read(GARDEN.replace('"soil.moisture"', "'soil.moisture{bed=\"9\"}'")), ['soil.moisture{bed="1"}'])
    assert "attributes" in other.remedy


def test_the_rate_of_what_was_seen_and_derived_signals_count_as_seen() -> None:
    text = GARDEN.replace('"soil.moisture"', '"rate(rain_total)"') + '[[signals]]\nname = "wet"\nis = "rain_total"\n'
    assert list(unseen(read(text), ["rain_total"])) == []
    derived = read(GARDEN.replace('"soil.moisture"', '"wet"'))
    assert list(unseen(derived, ["x"], [read(text)])) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nonsense", "it is not valid TOML"),
        ("[pack]\nname = 'x'", "missing required field `kind`"),
        (GARDEN + "colour = 1\n", "unknown field `colour`"),
        (GARDEN.replace("0.9", "1.9"), "<= 1.0"),
        (GARDEN.replace('"garden"', '"Garden X"'), "pack.name"),
        (GARDEN + '[[signals]]\nname = "a"\nis = "x("\n', "signals a"),
    ],
)
def test_what_is_no_pack_is_refused_with_the_place(text: str, told: str) -> None:
    with pytest.raises(PackFault) as fault:
        Packs([]).load(text)
    assert told in fault.value.detail
    assert fault.value.remedy


def test_every_pack_says_something() -> None:
    def worth(pack: Pack) -> bool:
        return bool(pack.symptoms and pack.causes and pack.head.what)

    assert [pack.name for pack in SHIPPED if not worth(pack)] == []
