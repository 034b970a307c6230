"""I10: after the kill switch nothing acts: by topic, by file while the broker is down, and after a restart."""

from __future__ import annotations

import getpass
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.client import Publisher
from app.clock import now_ms
from app.kafka.broker import Broker, read_all
from app.security.keys import WORKER, Keys, enrol
from app.security.switch import NAME
from models.safety.modes import Mode
from models.safety.settings import SafetySettings
from models.safety.signing import seal
from tests.clusters import Cluster
from tests.hands import Hands, actuator
from tests.processes import run, until
from topics.actions import RESULTS, Command
from topics.codec import decode
from topics.settings import SETTINGS

pytestmark = [pytest.mark.drill, pytest.mark.timeout(180)]

WITHIN_MS = 1_000
FREE = SafetySettings(
    mode=Mode.AUTONOMOUS, cooldown_ms=0, per_target=10**6, per_scope=10**6, per_site=10**6
)  # fmt: skip


class Flow:
    """Commands that never stop, as long as anybody takes them."""

    def __init__(self, broker: Broker, home: Path) -> None:
        self.broker, self.signer, self.number = broker, Keys(home).own(WORKER), 0
        self.over = threading.Event()

    def send(self, count: int) -> None:
        with Publisher(self.broker) as publisher:
            for _ in range(count):
                self.number += 1
                now = now_ms()
                publisher.send(seal(Command(
                    id=f"c{self.number}", decision=f"d{self.number}", incident="", ts=now, action="restart_service",
                    target=f"shop/s{self.number % 50}/0", parameters={}, expires=now + 50_000,
                    audience="supervisor/shop", epoch=now + self.number, requester="decide", confidence=0.99,
                ), self.signer))  # fmt: skip

    def killed_at(self) -> int:
        """When the broker had the newest word on the kill switch."""
        return max(raw.arrived for raw in read_all(self.broker, [SETTINGS.name]))

    def results(self) -> list[Any]:
        return [decode(raw).record for raw in read_all(self.broker, [RESULTS.name])]


@pytest.fixture
def flow(cluster: Cluster, home: Path) -> Iterator[Flow]:
    enrol(home)
    flow = Flow(cluster.broker, home)
    yield flow
    flow.over.set()


def quiet_since(hands: Hands, killed_at: int) -> int:
    """Milliseconds from the kill switch to the last effect, after a while of watching."""
    time.sleep(2.0)
    return hands.effects()[-1].ts - killed_at


def test_i10_by_topic_the_last_effect_is_within_a_second_and_it_stays_off(
    flow: Flow, home: Path, tmp_path: Path
) -> None:
    hands, times = Hands(tmp_path / "actuator-effects", takes_s=0.03), []
    said: list[int] = []
    other = {"OPSLOOP_HOME": str(tmp_path / "another-host")}
    address = ("--broker", flow.broker.bootstrap)
    me = getpass.getuser()
    for _ in range(3):
        with actuator(flow.broker, home, hands, FREE):
            before = len(hands.effects())
            flow.send(300)
            until(lambda before=before: len(hands.effects()) > before + 5)  # type: ignore[misc]
            killing = run("kill-switch", "on", "--reason", "drill", "--json", *address, env=other)
            assert killing.process.returncode == 0, killing.told()
            said.append(quiet_since(hands, killing.report()["ts"]))
            times.append(quiet_since(hands, flow.killed_at()))
            count = len(hands.effects())
        with actuator(flow.broker, home, hands, FREE):
            flow.send(5)
            until(lambda: any(r.command == f"c{flow.number}" for r in flow.results()), 40)
            assert len(hands.effects()) == count, "it stays off after a restart"
            stranger = run("kill-switch", "off", *address, env=other)
            assert stranger.process.returncode == 2, "who has no key cannot allow acting again"
            allowed = run("kill-switch", "off", "--as", me, *address, env={"OPSLOOP_HOME": str(home)})
            assert allowed.process.returncode == 0, allowed.told()
            until(lambda: not (tmp_path / NAME).exists())
            time.sleep(0.3)
            flow.send(1)
            until(lambda count=count: len(hands.effects()) > count)  # type: ignore[misc]
    print(f"by topic: ms from the person's word to the last effect {said}, from its arrival at the broker {times}")
    assert max(times) < WITHIN_MS


def test_i10_by_file_while_the_broker_is_down_and_after_a_restart(
    flow: Flow, cluster: Cluster, home: Path, tmp_path: Path
) -> None:
    hands = Hands(tmp_path / "effects", takes_s=0.03)
    with actuator(flow.broker, home, hands, FREE):
        flow.send(400)
        until(lambda: len(hands.effects()) > 5)
        cluster.down()
        killing = run("kill-switch", "on", "--reason", "drill", "--broker", flow.broker.bootstrap,
                      env={"OPSLOOP_HOME": str(home)})  # fmt: skip
        written = int((home / NAME).stat().st_mtime * 1000)
        assert killing.process.returncode == 1
        assert "the actuators of this host have stopped" in killing.told()
        took = quiet_since(hands, written)
        count = len(hands.effects())
        assert count < 400, "there was something left to stop"
        cluster.up()
        until(lambda: len(flow.results()) >= 400, 60, lambda: str(len(flow.results())))  # what it said meanwhile
        assert len(hands.effects()) == count, "it stays off when the broker is back"
    with actuator(flow.broker, home, hands, FREE):
        flow.send(5)
        until(lambda: any(r.command == f"c{flow.number}" for r in flow.results()), 40)
        assert len(hands.effects()) == count
    print(f"by file, without a broker: {took} ms to the last effect")
    assert took < WITHIN_MS


def test_i10_an_empty_file_that_somebody_touched_stops_everything(flow: Flow, home: Path, tmp_path: Path) -> None:
    hands = Hands(tmp_path / "effects")
    with actuator(flow.broker, home, hands, FREE):
        (tmp_path / NAME).touch()
        flow.send(3)
        until(lambda: len(flow.results()) == 3)
        assert {r.detail.split(":")[0] for r in flow.results()} == {"killed"}
        assert hands.effects() == []
