"""Templates of entities: who a measurement is of, how its series are called, and what is refused because of it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.errors import UserError
from app.ingest.settings import IngestSettings, naming
from tests.topics.formats.test_field import NOW, gauge, otlp
from topics.codec import Cause
from topics.formats.entities import EntityRule, Template, TemplateFault, When, rules_of
from topics.formats.foreign import ForeignReader
from topics.formats.naming import OVER_MS, Naming
from topics.spec import Raw
from topics.telemetry import Event, Facts, Relation, Sample

POD = EntityRule(
    "{k8s.namespace.name}/{k8s.deployment.name|'none'}/{k8s.pod.name}", kind="pod", attributes=("k8s.node.*",),
    drop=("k8s.pod.uid",),
)  # fmt: skip
POD_LABELS = {
    "k8s_namespace_name": "shop", "k8s_deployment_name": "cart", "k8s_pod_name": "cart-1", "k8s_pod_uid": "u1",
    "k8s_node_name": "n1", "service_name": "cart",
}  # fmt: skip


def reader(*rules: EntityRule) -> ForeignReader:
    return ForeignReader(lambda _: "auto", Naming(rules_of(rules)))


def read(
    by: ForeignReader, value: Any, topic: str = "theirs", now: int = NOW
) -> tuple[dict[str, dict[str, float]], list[Event], list[tuple[Cause, str]]]:
    """Metrics by entity, what is told of entities, and what is refused."""
    text = value if isinstance(value, bytes) else orjson.dumps(value)
    found, refused = by.read(Raw(topic, 0, 0, b"key", text, (), now), now)
    samples: dict[str, dict[str, float]] = {}
    for each in found:
        if isinstance(each, Sample):
            samples.setdefault(each.entity, {}).update(each.metrics)
    return samples, [e for e in found if isinstance(e, Event)], [refused.reason] if refused.count else []


def telegraf(value: float = 1.0, **tags: str) -> dict[str, Any]:
    return {"fields": {"used": value}, "name": "m", "tags": tags, "timestamp": NOW // 1000}


def test_a_template_names_the_entity_and_its_labels_leave_the_names_of_its_series() -> None:
    samples, events, refused = read(reader(POD), otlp((POD_LABELS, [gauge("req", 1.0)])))
    assert samples == {"shop/cart/cart-1": {'req{service.name="cart"}': 1.0}}
    assert not refused
    told = {event.entity: event.facts for event in events}
    assert told["shop/cart/cart-1"] == Facts(
        "labels", 0.8, "pod", {"k8s.node.name": "n1"}, (Relation("runs_on", "n1"),), POD.entity
    )
    assert told["cart"] == Facts("labels", 0.8, "service", {}, (Relation("runs_on", "shop/cart/cart-1"),),
                                 via="shop/cart/cart-1")  # fmt: skip


def test_a_default_stands_where_a_label_is_missing_and_an_entry_that_cannot_be_filled_is_passed_over() -> None:
    by = reader(POD)
    bare = {name: text for name, text in POD_LABELS.items() if name != "k8s_deployment_name"}
    assert [*read(by, otlp((bare, [gauge("req", 1.0)])))[0]] == ["shop/none/cart-1"]
    other = read(by, otlp(({"host_name": "web-1", "service_name": "x"}, [gauge("req", 1.0)])))[0]
    assert other == {"web-1": {'req{service.name="x"}': 1.0}}


@pytest.mark.parametrize(("tags", "entity"), [
    ({"host": "h", "service": "s", "instance": "0"}, "h/s/0"), ({"hostname": "h", "service": "s"}, "h/s/main"),
    ({"host": "", "hostname": "g", "service": "s"}, "g/s/main"), ({"service": "s"}, "key"),
])  # fmt: skip
def test_the_first_label_that_is_there_counts(tags: dict[str, str], entity: str) -> None:
    samples, _, _ = read(reader(EntityRule("{host|hostname}/{service}/{instance|'main'}")), telegraf(**tags))
    assert [*samples] == [entity]


def test_the_first_entry_counts_whose_globs_hold() -> None:
    by = reader(
        EntityRule("ksm/{pod}", when=When(metric="kube_pod_*", labels={"job": "kube-*"}), kind="pod"),
        EntityRule("lab/{host}", when=When(topic="lab-*")),
    )
    ksm = {"timestamp": "2026-11-21T00:00:00Z", "value": "1", "name": "kube_pod_info",
           "labels": {"__name__": "kube_pod_info", "instance": "k:1", "job": "kube-state", "pod": "p1"}}  # fmt: skip
    assert read(by, ksm)[0] == {"ksm/p1": {'kube_pod_info{instance="k:1",job="kube-state"}': 1.0}}
    for name, job in (("kube_node_info", "kube-state"), ("kube_pod_info", "other")):
        other = {**ksm, "name": name, "labels": {**ksm["labels"], "__name__": name, "job": job}}  # type: ignore[dict-item]
        assert [*read(by, other)[0]] == ["k:1"]
    assert [*read(by, telegraf(host="a"), "lab-1")[0]] == ["lab/a"]
    assert [*read(by, telegraf(host="a"), "other")[0]] == ["a"]


def test_labels_are_kept_in_names_or_as_attributes_or_thrown_away_as_the_entry_says() -> None:
    rule = EntityRule("{host}", series=("disk*",), drop=("run",))
    samples, (event,), _ = read(reader(rule), telegraf(host="a", disk="sda", region="eu", run="77"))
    assert samples == {"a": {'m.used{disk="sda"}': 1.0}}
    assert event.facts is not None
    assert event.facts.attributes == {"region": "eu"}


# --- two sets of labels never become one series in silence ------------------------------------------------------------

DROPS = EntityRule("{host}", drop=("uid",))


def both(**second: str) -> dict[str, Any]:
    return {"metrics": [telegraf(1.0, host="a", uid="1"), telegraf(2.0, **({"host": "a"} | second))]}


def test_series_of_one_message_that_differ_in_a_dropped_label_are_not_merged() -> None:
    by = reader(DROPS)
    for _ in range(3):
        samples, _, ((cause, detail),) = read(by, both(uid="2"))
        assert samples == {"a": {"m.used": 1.0}}
        assert cause is Cause.SAME_NAME
        assert "two series of a would be one, m.used: uid is '2' and '1'" in detail
        assert "Put uid into `entity` or `series` of [[ingest.entities]]" in detail


@pytest.mark.parametrize("second", [{"pod": "x"}, {"disk": "sda", "uid": "1"}])
def test_what_differs_in_a_label_that_is_kept_is_two_series(second: dict[str, str]) -> None:
    samples, _, refused = read(reader(DROPS), both(**second))
    assert len(samples["a"]) == 2
    assert not refused


def test_series_that_alternate_in_messages_of_their_own_are_told_and_only_one_goes_on() -> None:
    by = reader(DROPS)
    one, two = telegraf(1.0, host="a", uid="1"), telegraf(2.0, host="a", uid="2")
    seen = [read(by, each, now=NOW + at * 1000) for at, each in enumerate((one, two, one, two, one, two))]
    assert [samples.get("a") for samples, _, _ in seen[2:]] == [None, {"m.used": 2.0}, None, {"m.used": 2.0}]
    assert [cause for _, _, refused in seen for cause, _ in refused] == [Cause.SAME_NAME, Cause.SAME_NAME]


def test_a_successor_goes_on_with_the_name_and_so_does_one_that_comes_back_after_it() -> None:
    by = reader(DROPS)
    one, two = telegraf(1.0, host="a", uid="1"), telegraf(2.0, host="a", uid="2")
    for at, each in ((0, one), (10_000, two), (20_000, two), (20_000 + OVER_MS + 1, one)):
        samples, _, refused = read(by, each, now=NOW + at)
        assert [*samples["a"]] == ["m.used"]
        assert not refused


@pytest.mark.parametrize("labels", [
    ({"a": "x/y", "b": "z"}, {"a": "x", "b": "y/z"}),
    ({"a": "x", "b": "y", "c": "z/w"}, {"a": "x", "b": "y/z", "c": "w"}),
])  # fmt: skip
def test_templates_that_make_one_entity_of_two_sets_of_labels_are_told(labels: tuple[dict[str, str], ...]) -> None:
    by = reader(EntityRule("{a}/{b}/{c|'-'}"))
    _, _, ((cause, _),) = read(by, {"metrics": [telegraf(**each) for each in labels]})
    assert cause is Cause.SAME_NAME


def test_one_value_under_another_name_of_the_same_host_is_the_same_series() -> None:
    by = reader()
    for tags in ({"host": "a"}, {"hostname": "a"}, {"host": "a"}):
        samples, _, refused = read(by, telegraf(**tags))
        assert samples == {"a": {"m.used": 1.0}}
        assert not refused


def test_resources_that_differ_in_what_says_how_they_are_made_are_told_too() -> None:
    first, second = ({"host_name": "a", "os_type": kind} for kind in ("linux", "windows"))
    samples, _, ((cause, _),) = read(reader(), otlp((first, [gauge("req", 1.0)]), (second, [gauge("req", 2.0)])))
    assert samples == {"a": {"req": 1.0}}
    assert cause is Cause.SAME_NAME


@pytest.mark.parametrize("second", [{"n": 1, "t": True}, {"n": "1", "t": "True"}, {"n": 1.0, "t": 1}])
def test_numbers_and_booleans_of_labels_are_what_they_are_written_as(second: dict[str, Any]) -> None:
    by = reader()
    read(by, telegraf(**{"host": "a", "n": 1, "t": True}))  # type: ignore[arg-type]
    samples, _, refused = read(by, telegraf(**{"host": "a", **second}))
    shown = {key: str(value) for key, value in second.items()}
    assert samples == {"a": {f'm.used{{n="{shown["n"]}",t="{shown["t"]}"}}': 1.0}}
    assert not refused


# --- what is told, and when -------------------------------------------------------------------------------------------


def test_an_entity_is_told_when_it_is_new_or_changed_and_not_with_every_message() -> None:
    by, rule = reader(EntityRule("{host}", kind="vm", attributes=("zone",))), []
    for zone in ("a", "a", "a", "b", "b"):
        rule.append(read(by, telegraf(host="x", zone=zone))[1])
    assert [len(events) for events in rule] == [1, 0, 0, 1, 0]
    assert rule[3][0].facts is not None
    assert rule[3][0].facts.attributes == {"zone": "b"}


def test_what_labels_say_of_others_is_told_again_once_an_hour() -> None:
    by = reader()
    told = [
        [e.entity for e in read(by, telegraf(host="n1", pod="p1"), now=NOW + hour * 3_600_000)[1]]
        for hour in (0, 0, 1, 1)
    ]
    assert told == [["p1"], [], ["p1"], []]


def test_relations_are_those_that_the_entry_names() -> None:
    rule = EntityRule("{ns}/{pod}", kind="pod", relations={"part_of": "{ns}/{app}", "runs_on": "node/{node}"})
    _, events, _ = read(reader(rule), telegraf(ns="shop", pod="p", app="cart", node="n1"))
    (facts,) = [event.facts for event in events if event.entity == "shop/p"]
    assert facts is not None
    assert facts.relations == (Relation("part_of", "shop/cart"), Relation("runs_on", "node/n1"))


# --- bad templates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "what"), [
    ("", "it is empty"), ("{host", "a brace without its other half at character 1"), ("a}", "at character 2"),
    ("{}", "'' is no label"), ("{a b}", "'a b' is no label"), ("{a|}", "'' is no label"),
    ("{'x'}", "names no label"), ("{a|'x'|b}", "is no label"), ("{{a}}", "a brace without"), ("x" * 300, "at most 256"),
])  # fmt: skip
def test_a_text_that_is_no_template_is_refused_with_its_place(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Template.read(text)
    with pytest.raises(UserError) as told:
        naming(IngestSettings(entities=(EntityRule("{ok}", when=When(metric="x")), EntityRule(text))))
    assert "[[ingest.entities]] 2 entity" in str(told.value)
    assert what in str(told.value)


@pytest.mark.parametrize(("first", "later"), [
    (EntityRule("{host}"), EntityRule("{host}/{service}")),
    (EntityRule("{host|node}"), EntityRule("{node}")),
    (EntityRule("all"), EntityRule("{x}")),
    (EntityRule("{a}", when=When(labels={"job": "x*"})),
     EntityRule("{a}", when=When(labels={"job": "x*", "y": "z"}, topic="t"))),
])  # fmt: skip
def test_an_entry_that_can_never_apply_is_refused(first: EntityRule, later: EntityRule) -> None:
    with pytest.raises(TemplateFault, match="2: it can never apply"):
        rules_of((first, later))
    rules_of((later, first))


def test_a_bad_template_of_a_relation_is_refused() -> None:
    with pytest.raises(TemplateFault, match=r"relations runs_on.*no label"):
        rules_of((EntityRule("{a}", relations={"runs_on": "{ }"}),))


@pytest.mark.parametrize(
    ("labels", "entity"),
    [({"a": "x", "b": ""}, "x"), ({"a": "/x/", "b": "y//z"}, "x/y/z"), ({"a": "x", "b": "y"}, "x/y"),
     ({"a": "x\n", "b": "y"}, ""), ({"a": "x\u202e", "b": "y"}, "")],
)  # fmt: skip
def test_an_entity_has_no_empty_part_and_nothing_that_cannot_be_shown(labels: dict[str, str], entity: str) -> None:
    assert Template.read("{a}/{b|''}").fill(labels) == entity


def test_names_without_end_are_forgotten_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topics.formats.naming.MOST_SERIES", 100)
    by = Naming()
    for number in range(1_000):
        by.begin(NOW + number)
        assert by.of({"host": "a"}).named(f"m{number}") is not None
    assert len(by._claims) <= 100
