"""Every fault hurts, and its one remedy cures it: on real processes, through the actuator, seen from outside."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.clock import now_ms
from app.demo import faults, plan
from app.demo.actuator import SiteActuator
from app.demo.site import Site
from app.errors import UserError
from topics.actions import Command

Within = Callable[[float, Callable[[], bool]], bool]
LIMIT_MS = 300


def sample(site: Site, entity: str) -> dict[str, float]:
    """What the entity says of itself; `down` is 1 when it refuses, `hung` when it is silent."""
    try:
        with urllib.request.urlopen(site.endpoints()[entity], timeout=LIMIT_MS / 1000) as answer:
            text = answer.read().decode()
    except TimeoutError:
        return {"down": 0.0, "hung": 1.0}
    except OSError:
        return {"down": 1.0, "hung": 0.0}
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {"down": 0.0, "hung": 0.0} | {s.name + s.labels.get("peer", ""): s.value for s in samples}


def command(name: str, action: str, target: str, **parameters: str) -> Command:
    return Command(
        id=name, decision="d", incident="i", ts=now_ms(), action=action, target=target, parameters=parameters,
        expires=now_ms() + 30_000,
    )  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What a fault looks like from outside, on the replica that has it."""

    service: str
    hurts: Callable[[dict[str, float]], bool]
    well: Callable[[dict[str, float]], bool]


CASES = {
    "kill": Case("catalog", lambda m: m["down"] == 1, lambda m: "process_uptime" in m),
    "hang": Case("cart", lambda m: m["hung"] == 1, lambda m: "process_uptime" in m),
    "leak": Case(
        "orders", lambda m: m["process_memory_usage"] > 75e6, lambda m: m.get("process_memory_usage", 1e9) < 60e6
    ),
    "errors": Case(
        "store", lambda m: m["http_server_error_ratio"] >= 0.4, lambda m: m.get("http_server_error_ratio", 1) == 0
    ),
    "slow": Case(
        "catalog", lambda m: m["http_server_own_duration_p95"] > 0.3, lambda m: m["http_server_own_duration_p95"] < 0.25
    ),
    "surge": Case(
        "catalog",
        lambda m: m["http_server_utilization"] > 0.95 and m["http_server_queued_requests"] > 5,
        lambda m: m["http_server_utilization"] < 0.9 and m["http_server_queued_requests"] < 5,
    ),
}  # fmt: skip


def calm(site: Site) -> None:
    if parent := site.layout.parent(plan.LOAD):
        site.layout.point(plan.LOAD, parent, "fault:surge", "over")


@pytest.mark.drill
@pytest.mark.parametrize("fault", sorted(faults.FAULTS))
def test_a_fault_hurts_until_its_remedy_and_the_site_counts_one_effect(fault: str, site: Site, within: Within) -> None:
    case, actuator = CASES[fault], SiteActuator(site.layout.folder)
    replica = plan.entity(case.service, 0)
    assert within(10, lambda: case.well(sample(site, replica)))
    before = len(site.effects())

    injection = faults.inject(site, fault, case.service)
    assert within(5, lambda: case.hurts(sample(site, replica)))

    remedy = command(f"cure-{fault}", faults.FAULTS[fault].remedy, injection.entity)
    assert actuator.can(remedy.action, remedy.target) is None
    assert actuator.run(remedy).outcome == "succeeded"
    assert within(6, lambda: case.well(sample(site, replica)))
    assert within(1, lambda: len(site.effects()) == before + 1)
    assert [(e.cause, e.times, e.service) for e in site.effects()[before:]] == [(remedy.id, 1, case.service)]
    assert actuator.probe(remedy).outcome == "succeeded"
    if fault == "surge":
        calm(site)
        assert actuator.run(command("calm", "scale_in", injection.entity)).outcome == "succeeded"


@pytest.mark.drill
def test_a_surge_ends_by_itself(site: Site, within: Within, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "SURGE_S", 1.5)
    cart = plan.entity("cart", 0)
    faults.inject(site, "surge", "cart")
    with pytest.raises(UserError, match="a surge is already on"):
        faults.inject(site, "surge", "catalog")
    assert within(3, lambda: sample(site, cart)["http_server_request_rate"] > 25)
    assert within(4, lambda: sample(site, cart)["http_server_request_rate"] < 20)
    assert site.layout.traffic(site.layout.pointer(plan.LOAD).revision) == plan.TRAFFIC


@pytest.mark.drill
def test_without_a_remedy_the_fault_stays(site: Site, within: Within) -> None:
    """Self-test of the injectors: none of them heals by itself while the others are looked at."""
    store = plan.entity("store", 0)
    faults.inject(site, "errors", "store")
    assert within(3, lambda: sample(site, store)["http_server_error_ratio"] > 0.3)
    assert not within(3, lambda: sample(site, store)["http_server_error_ratio"] < 0.3)
    assert sample(site, plan.entity("catalog", 0))["http_server_error_ratio"] == 0  # not catalog's own fault
    assert sample(site, plan.entity("catalog", 0))["http_client_error_ratiostore"] > 0.1
    SiteActuator(site.layout.folder).run(command("heal", "restart_service", store))


@pytest.mark.drill
def test_a_replica_leaves_without_a_lost_request(site: Site, within: Within) -> None:
    actuator = SiteActuator(site.layout.folder)
    assert within(10, lambda: sample(site, plan.entity("catalog", 0))["http_server_request_rate"] > 10)
    assert actuator.run(command("grow", "scale_out", "shop/catalog")).outcome == "succeeded"
    newest = plan.entity("catalog", 1)
    assert within(3, lambda: sample(site, newest)["http_server_request_rate"] > 5)
    failed = site.tally().failed
    assert actuator.run(command("shrink", "scale_in", "shop/catalog")).outcome == "succeeded"
    assert newest not in site.endpoints()
    sent = site.tally().sent
    assert within(5, lambda: site.tally().sent > sent + 60)
    assert site.tally().failed == failed


@pytest.mark.drill
@pytest.mark.parametrize(
    ("action", "target", "words"),
    [
        ("scale_in", "shop/store", "the least"),
        ("scale_out", "shop/store/0", "is for a service"),
        ("restart_service", "shop/store/7", "there is no replica"),
        ("restart_service", "bank/vault/0", "is not of the site"),
        ("rollback_config", "shop/gateway", "no earlier configuration"),
        ("reboot_node", "shop/store/0", "cannot reboot_node"),
    ],
)
def test_what_is_not_possible_is_said_before_it_is_tried(site: Site, action: str, target: str, words: str) -> None:
    assert words in (SiteActuator(site.layout.folder).can(action, target) or "")


@pytest.mark.drill
def test_a_command_beyond_the_ceiling_changes_nothing(site: Site) -> None:
    actuator, before = SiteActuator(site.layout.folder), site.endpoints()
    service = "shop/cart"
    count = sum(entity.startswith(service) for entity in before)
    done = actuator.run(command("much", "scale_out", service, replicas=str(plan.CEILING - count + 1)))
    assert done.outcome == "failed"
    assert site.endpoints() == before


@pytest.mark.drill
@pytest.mark.parametrize("action", ["restart_service", "scale_out", "scale_in", "rollback_config"])
def test_what_never_began_is_found_not_done(site: Site, action: str) -> None:
    done = SiteActuator(site.layout.folder, settle_s=0.1).probe(command("never", action, "shop/gateway"))
    assert done.outcome == "failed"
    assert "found not done" in done.detail


def test_a_fault_and_its_service_are_read_from_one_word() -> None:
    assert faults.parse("kill:cart") == ("kill", "cart")
    assert faults.parse("kill:shop/cart") == ("kill", "cart")
    assert faults.parse("hang") == ("hang", faults.FAULTS["hang"].default)


@pytest.mark.parametrize("text", ["", "burn", "kill:vault", "surge:store"])
def test_an_unknown_fault_or_service_is_answered_with_those_there_are(text: str) -> None:
    with pytest.raises(UserError, match=r"(There are: kill, hang|It can befall: )"):
        faults.parse(text)


def test_without_a_supervisor_an_outcome_is_unknown(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("dead")
    actuator = SiteActuator(folder, settle_s=0.0)
    assert actuator.can("restart_service", "shop/store/0") == f"no site is in {folder}"
    assert actuator.probe(command("x", "restart_service", "shop/store/0")).outcome == "unknown"
