"""An entity on running workers: named by a template, told with its kind and relations, and gone with its incident."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from processes import run, until, worker

from app.client import Publisher
from app.clock import now_ms
from app.history.records import records
from app.kafka.broker import Broker
from tests.builders import sample
from topics.incidents import INCIDENTS, Incident, SymptomKind
from topics.telemetry import METRICS

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
SETTINGS = """
[incidents]
gone_ms = 600000

[entities]
ttl_s = { cart = 15 }

[[ingest.entities]]
when = { labels = { app = "cart" } }
entity = "{ns}/{app}/{pod}"
kind = "cart"
relations = { runs_on = "{node}" }
"""


def known(broker: Broker, *words: str) -> list[dict[str, Any]]:
    done = run("entities", *words, "--json", "--broker", broker.bootstrap)
    return json.loads("".join(done.out)) if done.process.returncode == 0 else []  # type: ignore[no-any-return]


def incidents(broker: Broker, entity: str) -> list[Incident]:
    read = (r.record for r in records(broker, [INCIDENTS]))
    return [record for record in read if isinstance(record, Incident) and record.entity == entity]


def test_a_pod_is_told_and_when_it_is_deleted_it_is_gone_with_its_incident(
    own: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "opsloop.toml"
    config.write_text(SETTINGS)
    monkeypatch.setenv("OPSLOOP_CONFIG", str(config))
    with worker("lane", own), worker("loop", own), Publisher(own) as publisher:

        def measure(pod: str) -> None:
            value = {"metrics": [{"fields": {"used": 1.5}, "name": "m", "timestamp": now_ms() // 1000,
                                  "tags": {"ns": "shop", "app": "cart", "pod": pod, "node": "n1"}}]}  # fmt: skip
            publisher.send_raw(METRICS.name, b"x", orjson.dumps(value))
            publisher.flush(10)

        def told(pod: str, state: str) -> dict[str, Any] | None:
            for each in ("p1", "p2"):
                if state == "present" or each != "p1":
                    measure(each)
            time.sleep(1)
            found = [e for e in known(own, "shop/*", "--gone") if e["entity"] == f"shop/cart/{pod}"]
            return found[0] if found and found[0]["state"] == state and "labels" in found[0]["sources"] else None

        first = until(lambda: told("p1", "present"), 90)
        assert (first["kind"], [(r["kind"], r["to"]) for r in first["relations"]]) == ("cart", [("runs_on", "n1")])
        publisher.send(sample("shop/cart/p1", now_ms(), SymptomKind.DOWN))
        publisher.flush(10)
        assert until(lambda: incidents(own, "shop/cart/p1"), 60)
        gone = until(lambda: told("p1", "gone"), 180)
        assert gone["last"] >= first["first"] - 5_000
        until(lambda: incidents(own, "shop/cart/p1")[-1].closed_as == "gone", 60)
        assert [e["entity"] for e in known(own, "shop/*")] == ["shop/cart/p2"]
