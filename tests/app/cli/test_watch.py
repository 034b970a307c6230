from __future__ import annotations

import msgspec
import pytest

from app.cli.watch import line, say, without_repeats
from tests.builders import CATALOG, NOW, SAMPLES, cleared, sample, symptom
from topics.catalog import ALL
from topics.codec import encode
from topics.frames import CONTENT_TYPE, FrameBuilder
from topics.learning import Learning
from topics.signals import ANOMALIES, NO_SYMPTOM, SYMPTOMS
from topics.spec import Raw
from topics.telemetry import METRICS, Sample


def test_every_record_has_a_line_of_its_own_and_not_its_json() -> None:
    plain = say.dispatch(object)
    assert [topic.record.__name__ for topic in ALL if say.dispatch(topic.record) is plain] == []


def test_a_sample_is_one_line_with_its_first_metrics() -> None:
    sample = Sample(entity="web-1", ts=0, metrics={f"m{i}": i / 3 for i in range(9)})
    message = encode(sample)
    text = line(Raw(METRICS.name, 0, 0, message.key, message.value))
    assert text.endswith("telemetry.metrics web-1 m0=0, m1=0.3333, m2=0.6667, m3=1, m4=1.333, m5=1.667 +3")


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"[]", b'{"v": 99}', msgspec.json.encode({"entity": 1})])
def test_what_cannot_be_read_is_a_line_too(value: bytes | None) -> None:
    assert "not readable" in line(Raw(METRICS.name, 0, 0, b"k", value))


def test_a_refused_message_says_why_and_where_it_came_from() -> None:
    headers = (("dlq_cause", b"malformed"), ("dlq_detail", b"no JSON"), ("dlq_origin", b"t-1-2"))
    assert "malformed: no JSON  from t-1-2" in line(Raw(METRICS.dlq, 0, 0, b"k", b"x", headers))


def test_a_frame_says_whose_it_is_and_how_much_is_in_it() -> None:
    builder, headers = FrameBuilder(), (("content-type", CONTENT_TYPE),)
    for host in range(8):
        builder.add(f"web-{host}", 10**12, {"a": 1.0, "b": 2.0})
    value = builder.take()
    said = "samples: 8, values: 16, of web-0, web-1, web-2, web-3, web-4, web-5 and 2 more"
    assert line(Raw(METRICS.name, 0, 0, b"frame", value, headers)).endswith(said)
    assert "not readable" in line(Raw(METRICS.name, 0, 0, b"frame", value[:-1], headers))


def test_a_control_between_the_samples_is_shown_as_it_stands() -> None:
    message = encode(Learning(entity="web-1", ts=0, learning="open", incident="i"))
    text = line(Raw(METRICS.name, 0, 0, message.key, message.value, tuple(message.headers)))
    assert '"learning":"open"' in text


def test_an_alarm_that_goes_on_is_told_once_when_it_gets_worse_and_when_it_ends() -> None:
    looks = [
        sample("a", NOW, state="raised", grade="minor"),
        *(sample("a", NOW + n * 1_000, grade=grade) for n, grade in enumerate(("minor", "major", "minor", "major"), 1)),
        sample("b", NOW, grade="minor"),
        *(sample("a", NOW + n * 1_000, grade="major") for n in range(5, 60)),
        cleared("a", NOW + 60_000),
        sample("a", NOW + 61_000, state="raised", grade="minor"),
    ]
    raws = [Raw(ANOMALIES.name, 0, at, b"a", encode(look).value) for at, look in enumerate(looks)]
    other = Raw(METRICS.name, 0, 0, b"k", b"not readable")
    told = [raw.offset for raw in without_repeats([*raws, other, other])]
    assert told == [0, 2, 5, 61, 62, 0, 0]


def test_an_entity_is_a_line_with_its_kind_state_and_relations() -> None:
    message = encode(SAMPLES["opsloop.entities"])
    text = line(Raw("opsloop.entities", 0, 0, message.key, message.value))
    assert text.endswith("entities shop/catalog/0 pod is silent; runs_on web-1")


def test_a_grade_of_a_later_version_is_told_as_the_gravest() -> None:
    looks = [sample("a", NOW, state="raised", grade="critical"), sample("a", NOW + 1_000, grade="fatal"),
             sample("a", NOW + 2_000, grade="critical")]  # fmt: skip
    raws = [Raw(ANOMALIES.name, 0, at, b"a", encode(look).value) for at, look in enumerate(looks)]
    assert [raw.offset for raw in without_repeats(raws)] == [0, 1]


def test_a_symptom_is_told_when_it_begins_and_when_it_ends() -> None:
    states = ("began", "continuing", "continuing", "ended")
    raws = [Raw(SYMPTOMS.name, 0, at, b"a", encode(symptom(state=state)).value) for at, state in enumerate(states)]
    broken = Raw(SYMPTOMS.name, 0, 9, b"a", b"not readable")
    assert [raw.offset for raw in without_repeats([*raws, broken])] == [0, 3, 9]
    assert say(symptom(state="began")) == f"{CATALOG} down began: up.refused is 1, expected 0, says bank"
    none = symptom(NO_SYMPTOM)
    assert say(none) == f"{CATALOG} shows no symptom, its alarm is on"
    assert say(msgspec.structs.replace(none, alarm=False)) == f"{CATALOG} shows no symptom"
