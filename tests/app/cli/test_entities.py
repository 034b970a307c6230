"""`opsloop entities`, and what the doctor says of templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agents.describe import Describe
from app.cli import build
from app.kafka.broker import read_all
from app.kafka.embedded import Embedded
from app.knowledge.entities import events_of, known, read
from app.shipped import packs
from tests.builders import NOW, reads
from tests.histories import write
from tests.keys import RING
from topics.codec import decode
from topics.entities import Entity
from topics.spec import Record
from topics.telemetry import EVENTS, Event, Facts, Relation

TOPOLOGY = """
[[entities]]
id = "shop/cart"
kind = "service"
attributes = { team = "checkout" }
runs_on = ["web-1"]
depends_on = ["shop/db"]
calls = ["shop/catalog"]

[[entities]]
id = "shop/db"
kind = "postgres"
"""


def typed(embedded: Embedded, *words: str, code: int = 0) -> str:
    done = CliRunner().invoke(build(), [*words, "--broker", embedded.bootstrap], env={"COLUMNS": "200"})
    assert done.exit_code == code, (done.output, done.exception)
    return done.output if not code else f"{done.output}{done.exception}"


def described(*records: Record) -> list[Entity]:
    """What the agent makes of events."""
    agent = Describe(packs(), RING)
    return [each for each in agent.step(reads(list(records)), NOW) if isinstance(each, Entity)]


def pod(name: str = "shop/cart/1", **changes: Any) -> Event:
    facts = Facts("labels", 0.8, "pod", {"zone": "[a]"}, (Relation("runs_on", "web-1"),), **changes)
    return Event(entity=name, ts=NOW, kind="entity", text="", facts=facts)


def test_entities_are_listed_by_globs_and_kinds_and_one_is_told_with_all_that_is_known(embedded: Embedded) -> None:
    graph = Event(entity="shop", ts=NOW, kind="topology", text="", calls=(("shop/cart", "shop/db"),))
    write(embedded.broker, described(pod(), pod("lab/x/1"), graph))
    listed = typed(embedded, "entities")
    assert [line.split()[0] for line in listed.splitlines() if " pod " in line] == ["lab/x/1", "shop/cart/1"]
    assert "calls shop/db" in listed
    names = [e["entity"] for e in json.loads(typed(embedded, "entities", "shop/*", "--json"))]
    assert names == ["shop/cart", "shop/cart/1", "shop/db"]
    assert [e["entity"] for e in json.loads(typed(embedded, "entities", "--kind", "pod", "--json"))] == [
        "lab/x/1", "shop/cart/1",
    ]  # fmt: skip
    one = typed(embedded, "entities", "shop/cart/1")
    assert "zone = [a]" in one
    assert "runs_on web-1  labels, 80%" in one
    assert json.loads(typed(embedded, "entities", "shop/cart/1", "--json"))["kind"] == "pod"
    assert "nothing is known of shop/cart/9" in typed(embedded, "entities", "shop/cart/9", code=1)


def test_a_name_that_looks_like_a_glob_is_a_name_where_there_is_one(embedded: Embedded) -> None:
    write(embedded.broker, described(pod("db[1]"), pod("db1")))
    assert json.loads(typed(embedded, "entities", "db[1]", "--json"))["entity"] == "db[1]"
    assert [e["entity"] for e in json.loads(typed(embedded, "entities", "db[12]", "--json"))] == ["db1"]


def test_what_is_gone_is_listed_when_it_is_asked_for_and_the_newest_record_counts(embedded: Embedded) -> None:
    retracted = Event(entity="shop/cart/1", ts=NOW, kind="entity", text="", facts=Facts("labels"))
    found = described(pod(), retracted)
    assert [each.state for each in found] == ["present", "gone"]
    write(embedded.broker, [found[1], found[0]])
    assert json.loads(typed(embedded, "entities", "--json")) == []
    assert [e["state"] for e in json.loads(typed(embedded, "entities", "--gone", "--json"))] == ["gone"]
    assert json.loads(typed(embedded, "entities", "shop/cart/1", "--json"))["state"] == "gone"


def sent(embedded: Embedded) -> list[Event]:
    found = [decode(raw).record for raw in read_all(embedded.broker, [EVENTS.name])]
    return sorted((each for each in found if isinstance(each, Event)), key=lambda each: (each.ts, each.kind))


def test_a_file_is_told_and_what_it_names_no_more_ends(embedded: Embedded, tmp_path: Path) -> None:
    file = tmp_path / "topology.toml"
    file.write_text(TOPOLOGY)
    assert json.loads(typed(embedded, "entities", "--apply", str(file), "--json")) == {"entities": 2, "ended": 0}
    agent = Describe(packs(), RING)
    made = [e for e in agent.step(reads(list(sent(embedded))), NOW) if isinstance(e, Entity)]
    newest = {each.entity: each for each in made}
    assert [(r.kind, r.to, r.source) for r in newest["shop/cart"].relations] == [
        ("calls", "shop/catalog", "topology"), ("depends_on", "shop/db", "file:topology.toml"),
        ("runs_on", "web-1", "file:topology.toml"),
    ]  # fmt: skip
    assert (newest["shop/db"].kind, newest["shop/cart"].attributes) == ("postgres", {"team": "checkout"})
    write(embedded.broker, made)
    file.write_text('[[entities]]\nid = "shop/cart"\nkind = "service"\ncalls = []\n')
    assert json.loads(typed(embedded, "entities", "--apply", str(file), "--json")) == {"entities": 1, "ended": 1}
    events = events_of(read(file), "file:topology.toml", known(embedded.broker), NOW)
    again = {e.entity: e for e in agent.step(reads(list(events)), NOW + 1) if isinstance(e, Entity)}
    assert (again["shop/db"].state, again["shop/cart"].relations) == ("gone", ())


@pytest.mark.parametrize(("text", "what"), [
    ("[[entities]]\n", "missing required field `id`"), ("[[entities]]\nid = ''\n", "length >= 1"),
    ("[[entities]]\nid = 'a'\nlives_on = ['b']\n", "unknown field `lives_on`"), ("x", "Expected '='"),
    ("[[entities]]\nid = 'a'\n[[entities]]\nid = 'a'\n", "a stands there twice"),
    ("[[entities]]\nid = 'a'\nkind = 'A B'\n", "$.entities[0].kind"),
])  # fmt: skip
def test_a_bad_file_is_refused_with_its_place(embedded: Embedded, tmp_path: Path, text: str, what: str) -> None:
    file = tmp_path / "topology.toml"
    file.write_text(text)
    assert what in typed(embedded, "entities", "--apply", str(file), code=1)
    assert not sent(embedded)


def test_the_doctor_tells_of_a_template_that_has_named_nothing(
    embedded: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "opsloop.toml"
    config.write_text("""
        [[ingest.entities]]
        entity = "{namespace}/{pod}"
        [[ingest.entities]]
        entity = "{namspace}/{container}"
    """)
    monkeypatch.setenv("OPSLOOP_CONFIG", str(config))
    write(embedded.broker, described(pod(template="{namespace}/{pod}")))
    done = CliRunner().invoke(build(), ["doctor", "--broker", embedded.bootstrap, "--json"])
    found = {f["what"]: f for f in json.loads(done.stdout)}
    assert found["[[ingest.entities]] 1"]["state"] == "ok"
    assert found["[[ingest.entities]] 2"]["state"] == "note"
    assert found["[[ingest.entities]] 2"]["detail"] == "{namspace}/{container} has matched nothing that was seen"
