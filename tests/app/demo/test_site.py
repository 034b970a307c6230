"""The site as a whole: it comes up, tells the truth about itself, and leaves nothing behind."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.demo import metrics, plan
from app.demo.site import Site
from app.errors import UserError
from topics.telemetry import Event

pytestmark = pytest.mark.drill

Within = Callable[[float, Callable[[], bool]], bool]

PARENT = """
import sys, pathlib, signal, psutil
from app.demo.site import Site
site = Site.start(pathlib.Path(sys.argv[1]))
print(*[p.pid for p in psutil.Process().children(recursive=True)], flush=True)
signal.pause()
"""


def test_every_replica_tells_every_metric_in_valid_text(site: Site) -> None:
    assert sorted(site.endpoints()) == sorted(plan.entity(service, 0) for service in plan.CALLS)
    for entity, url in site.endpoints().items():
        text = urllib.request.urlopen(url, timeout=2).read().decode()
        families = {family.name: family for family in text_string_to_metric_families(text)}
        peers = plan.CALLS[entity.split("/")[1]]
        wanted = {name.removesuffix("_total") for name in metrics.METRICS if peers or "client" not in name}
        assert set(families) == wanted
        assert {s.labels["peer"] for s in families.get("http_client_error_ratio", _none()).samples} == set(peers)
        assert all(math.isfinite(sample.value) for family in families.values() for sample in family.samples)
        assert url.startswith("http://127.0.0.1:")


class _none:  # noqa: N801
    samples = ()


def test_visitors_are_served(site: Site, within: Within) -> None:
    assert within(10, lambda: site.tally().ok > 100)
    assert site.tally().failed == 0


def test_the_events_tell_the_collector_who_calls_whom(site: Site) -> None:
    events = [msgspec.json.decode(line, type=Event) for line in site.layout.events.read_bytes().splitlines()]
    (topology,) = [event for event in events if event.kind == "topology"]
    assert set(topology.calls) == set(site.topology())
    assert ("shop/gateway", "shop/catalog") in topology.calls
    deployed = {event.entity for event in events if event.kind == "deploy"}
    assert deployed == {plan.name(service) for service in plan.CALLS}


def test_the_targets_file_is_what_the_collector_reads(site: Site) -> None:
    listed = json.loads(site.layout.targets_file.read_bytes())
    assert {target["entity"]: target["url"] for target in listed} == site.endpoints()


def test_at_rest_nothing_was_done_to_the_site(site: Site) -> None:
    assert site.effects() == []


def test_it_is_found_from_another_process_and_the_folder_is_taken(
    site: Site, site_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSLOOP_HOME", str(site_home))
    assert Site.attach().endpoints() == site.endpoints()
    assert Site.attach(site.layout.folder).endpoints() == site.endpoints()
    with pytest.raises(UserError, match="already holds a site"):
        Site.start(site.layout.folder)


def test_without_a_site_one_is_told_how_to_start_one(empty: Path) -> None:
    with pytest.raises(UserError, match="no demo site is running"):
        Site.attach(empty)


@pytest.mark.parametrize("frozen", [False, True], ids=["all running", "one stopped by a signal"])
def test_no_process_outlives_a_killed_parent(empty: Path, tmp_path: Path, within: Within, frozen: bool) -> None:
    environment = {**os.environ, "OPSLOOP_HOME": str(tmp_path / "home")}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(empty)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == len(plan.CALLS) + 2  # its supervisor, and the visitors
    if frozen:
        os.kill(pids[-1], signal.SIGSTOP)  # the visitors, which are only starting
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert within(10, lambda: not any(_alive(pid) for pid in pids))


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
