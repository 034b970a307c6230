"""The demo, as a person starts it: each fault is cured by its own remedy, and nothing acts without leave."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import Opsloop, opsloop, run, until

from app.demo.board import Injected
from app.demo.faults import FAULTS
from app.demo.people import FOLDER
from app.kafka.local import LocalKafka
from app.security.keys import Keys
from topics.spec import derive

AUTO = ("--approve", "auto", "--json", "--limit", "90")


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[str]:
    """A real Kafka of its own: the loop remembers what it did, and tests should not."""
    with LocalKafka(tmp_path / "kafka") as started:
        yield started.bootstrap


def faults_of(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {fault["fault"]: fault for fault in report["faults"]}


def check(demo: Opsloop) -> None:
    report = demo.report()
    found = faults_of(report)
    assert set(report) >= {"kind", "faults", "decisions", "effects", "dead_letters"}
    for name, known in FAULTS.items():
        fault = found[name]
        assert set(fault) >= set(Injected.__struct_fields__)
        assert fault["resolved"], (fault, demo.told())
        assert fault["action"] == known.remedy, fault
        assert 0 < fault["detected_s"] <= fault["decided_s"] <= fault["acted_s"] <= fault["resolved_s"]
    assert demo.process.returncode == 0
    assert report["effects"] == len(FAULTS)
    assert report["repeated_effects"] == 0
    assert report["dead_letters"] == 0


ALL = tuple(itertools.chain.from_iterable(("--break", fault) for fault in FAULTS))


@pytest.mark.timeout(600)
def test_each_fault_is_cured_by_its_own_remedy_on_the_in_memory_kafka() -> None:
    check(run("demo", *ALL, *AUTO, "--until", "resolved", limit_s=500))


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_each_fault_is_cured_by_its_own_remedy_on_a_real_kafka(kafka: str) -> None:
    check(run("demo", *ALL, *AUTO, "--until", "resolved", "--broker", kafka, limit_s=500))


def test_without_a_fault_nothing_acts() -> None:
    demo = run("demo", *AUTO, "--for", "40")
    report = demo.report()
    assert demo.process.returncode == 0, demo.told()
    assert report["effects"] == 0
    assert report["first_figures_s"] > 0
    assert {"anomalies", "incidents"} <= set(report["false_alarms"])


@pytest.mark.kafka
def test_nothing_acts_until_a_person_approves(kafka: str, tmp_path: Path, home: Path) -> None:
    theirs = {"OPSLOOP_HOME": str(home / FOLDER)}
    broken = ("--break", "kill:catalog", "--approve", "ask", "--until", "resolved", "--folder", str(tmp_path / "demo"))
    with opsloop("demo", *broken, "--broker", kafka, "--json") as demo:
        demo.wait_for("pending_approval", 60)
        waiting = run("decisions", "--waiting", "--json", "--broker", kafka).out[-1]
        journal = (tmp_path / "demo/site/journal.jsonl").read_text()
        assert waiting.count('"id"') >= 1
        assert journal.count('"service":"catalog"') == 1, "its first start, and nothing since"
        identity = until(lambda: _waiting(kafka))
        stranger = run("approve", identity[:8], "--as", "bob", "--broker", kafka)
        assert "bob has no key on this host" in stranger.told()
        assert run("user", "add", "ann", "--role", "approver", env=theirs).process.returncode == 0
        voted = run("approve", identity[:8], "--reason", "seen it before", "--as", "ann", "--broker", kafka, env=theirs)
        assert voted.process.returncode == 0, voted.told()
        assert demo.finish(60) == 0, demo.told()
    assert demo.report()["effects"] == 1
    assert "expired" not in demo.told()
    again = run("approve", identity, "--as", "ann", "--broker", kafka, env=theirs)
    assert again.process.returncode == 1
    assert "does not wait any more" in again.told()
    told = run("explain", identity, "--broker", kafka)
    for word in ("anomaly", "incident", "proposal", "decision", "ann: approve", "command", "result", "verdict"):
        assert word in "".join(told.out), word
    assert "opsloop.telemetry.metrics-" in "".join(told.out), "the sample has its place"


def test_people_of_the_demo_do_what_their_roles_allow_and_nobody_approves_their_own(home: Path) -> None:
    with opsloop("demo", "--approve", "ask", "--json") as demo:
        demo.wait_for("Everything runs", 60)
        demo.wait_for("visitors come", 60)
        told = demo.told()
        assert "paula (approver) says yes or no at a confidence below 0.70" in told
        assert "leo (lead) says yes or no to everything" in told
        address = ("--broker", next(line for line in demo.err if "in-memory Kafka at" in line).split()[-1])
        asked, theirs = {}, {"OPSLOOP_HOME": str(home / FOLDER)}
        for name, service in (("olga", "shop/cart"), ("leo", "shop/orders")):
            proposed = run("propose", "restart_service", service, "--as", name, "--json", *address, env=theirs)
            asked[name] = derive("decision", proposed.report()["id"])
        until(lambda: all(i in run("decisions", "--waiting", "--json", *address).out[-1] for i in asked.values()))
        for name, identity, refusal in (
            ("olga", asked["leo"], "wrong_role"), ("leo", asked["leo"], "self_approval"),
        ):  # fmt: skip
            vote = ("approve", identity, "--as", name, *address)
            until(lambda vote=vote, refusal=refusal: refusal in run(*vote, env=theirs).told(), 60)  # type: ignore[misc]
        assert Keys(home).entry("paula") is None, "only the demo believes its people"
        voted = run("approve", asked["olga"], "--as", "paula", *address, env=theirs)
        assert voted.process.returncode == 0, voted.told()
        demo.wait_for("succeeded", 60)
        demo.process.terminate()
        assert demo.finish(60) == 0, demo.told()
    assert demo.report()["effects"] == 1


def _waiting(kafka: str) -> str:
    import json

    found = json.loads(run("decisions", "--waiting", "--json", "--broker", kafka).out[-1])
    return str(found[0]["id"]) if found else ""


def test_an_approval_that_expires_is_a_refusal(tmp_path: Path) -> None:
    env = {"OPSLOOP_SAFETY__APPROVAL_MS": "1500"}
    with opsloop("demo", "--break", "kill:catalog", "--for", "30", "--json", env=env) as demo:
        demo.wait_for("nobody approved it in time", 60)
        demo.finish(60)
    report = demo.report()
    assert report["effects"] == 0
    assert not report["faults"][0]["resolved"]


def test_the_kill_switch_stops_all_acting() -> None:
    with opsloop("demo", "--approve", "auto", "--break", "kill:catalog", "--for", "25", "--json") as demo:
        demo.wait_for("visitors come")
        bootstrap = next(line for line in demo.err if "in-memory Kafka at" in line).split()[-1]
        assert run("kill-switch", "on", "--reason", "drill", "--broker", bootstrap).process.returncode == 0
        demo.wait_for("the kill switch is on", 60)
        demo.finish(60)
    assert demo.report()["effects"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("demo", "--break", "meteor"), ("no fault 'meteor'", "kill")),
        (("demo", "--break", "kill:moon"), ("cannot befall 'moon'", "catalog")),
        (("demo", "--until", "resolved"), ("needs something to resolve", "--break")),
        (("demo", "--broker", "127.0.0.1:1"), ("no broker at 127.0.0.1:1", "opsloop kafka up")),
        (("worker", "pilot"), ("no role 'pilot'", "lane, loop")),
        (("worker", "lane", "--broker", "127.0.0.1:1"), ("no broker", "opsloop kafka up")),
        (("break", "kill:catalog"), ("no demo site is running", "opsloop demo")),
        (("incidents", "--broker", "nowhere"), ("is not host:port",)),
        (("watch", "nothing.here"), ("nothing.here",)),
    ],
)
def test_what_a_person_gets_wrong_is_told_in_two_lines(
    arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    done = run(*arguments, env={"OPSLOOP_HOME": str(tmp_path)})
    told = "".join(done.err)
    assert done.process.returncode not in (0, None)
    assert "Traceback" not in told
    assert len([line for line in done.err if line.strip()]) <= 3, told
    for word in words:
        assert word in told
