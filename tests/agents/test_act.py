"""The last look at a command, with a ledger in memory and an actuator that counts."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from agents.act import Act, Begin, Done, Intent
from app.testing import MemoryLedger
from models.safety.guard import Guard
from models.safety.limits import SafetySettings
from models.safety.modes import Mode
from models.safety.signing import seal, sign_setting
from tests.keys import RING, WORKER_KEY, key_of
from topics.actions import Command, Result
from topics.settings import KILL_SWITCH, Setting
from topics.spec import Origin, Read, Record, derive

NOW = 1_000_000


class Hands:
    """An actuator whose commands take a second each."""

    name = "hands"

    def __init__(self, cannot: str | None = None) -> None:
        self.cannot, self.ran, self.probed, self.now = cannot, list[str](), list[str](), NOW

    def can(self, action: str, target: str) -> str | None:
        return self.cannot

    def run(self, command: Command) -> Done:
        self.ran.append(command.id)
        self.now += 1_000
        return Done("succeeded", "done", self.now)

    def probe(self, command: Command) -> Done:
        self.probed.append(command.id)
        return Done("unknown", "who knows", self.now)


class Book(MemoryLedger):
    """A ledger that may be another actuator's for now, or hold what an actuator that is gone has left."""

    def __init__(self, busy: bool = False) -> None:
        super().__init__()
        self.busy, self.left = busy, list[Intent]()

    def begin(self, command: Command, now: int) -> Begin:
        return Begin.BUSY if self.busy else super().begin(command, now)

    def finish(self, result: Result) -> None:
        super().finish(result)
        self.left = [intent for intent in self.left if intent.command.id != result.command]

    def orphans(self) -> Sequence[Intent]:
        return tuple(self.left)


def command(name: str = "c1", **changes: object) -> Command:
    plain = Command(
        id=name, decision="d1", incident="i1", ts=NOW, action="restart_service", target="shop/cart/0",
        parameters={}, expires=NOW + 30_000, audience="supervisor/shop", epoch=NOW + int(name[1:]), requester="decide",
        confidence=0.96,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def read(*records: Record) -> list[Read[Record]]:
    sealed = [seal(record, WORKER_KEY) if isinstance(record, Command) else record for record in records]
    return [Read(record, Origin("t", 0, n)) for n, record in enumerate(sealed)]


def switch(value: str) -> Setting:
    setting = Setting(name=KILL_SWITCH, value=value, ts=NOW, by="ada", reason="too much at once")
    return sign_setting(setting, key_of("ada"))


def guarded(hands: Hands, book: Book, stopped: str = "", **settings: object) -> Act:
    plain = SafetySettings(mode=Mode.AUTONOMOUS, cooldown_ms=0)
    guard = Guard(RING, msgspec.structs.replace(plain, **settings), "supervisor/shop")
    return Act(hands, book, guard, lambda: stopped)


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def act(hands: Hands, book: Book) -> Act:
    return guarded(hands, book)


def test_a_command_runs_and_its_result_says_when(act: Act, hands: Hands) -> None:
    (result,) = act.step(read(command()), NOW)
    assert (result.outcome, result.started, result.ts) == ("succeeded", NOW, NOW + 1_000)
    assert result.id == derive("result", "c1")
    assert hands.ran == ["c1"]


def test_a_repeated_command_brings_its_result_again_and_does_not_run(act: Act, hands: Hands) -> None:
    first, second = act.step(read(command(), command()), NOW)
    assert first == second
    assert hands.ran == ["c1"]


def test_a_dry_run_checks_and_writes_down_everything_and_does_nothing(hands: Hands, book: Book) -> None:
    act = guarded(hands, book, dry_run=True, per_target=1)
    (result,) = act.step(read(command()), NOW)
    assert (result.outcome, hands.ran) == ("canceled", [])
    assert "dry run" in result.detail
    (again,) = act.step(read(command("c2")), NOW)
    assert "budget_exhausted" in again.detail, "its limits count as if it had acted"


def test_an_expired_command_is_refused_for_good(act: Act, hands: Hands, book: Book) -> None:
    (result,) = act.step(read(command(expires=NOW - 1)), NOW)
    assert result.outcome == "refused"
    assert "expired" in result.detail
    assert result.started == 0
    assert book.results["c1"] == result
    assert hands.ran == []


def test_a_command_that_expires_while_another_runs_is_refused(act: Act, hands: Hands) -> None:
    results = list(act.step(read(command("c1"), command("c2", expires=NOW + 500)), NOW))
    assert [result.outcome for result in results] == ["succeeded", "refused"]
    assert hands.ran == ["c1"]


def test_i10_after_the_kill_switch_nothing_acts_also_after_a_restart(act: Act, hands: Hands, book: Book) -> None:
    (result,) = act.step(read(switch("on"), command()), NOW)
    assert (result.outcome, result.detail.split(":")[0]) == ("refused", "killed")
    again = guarded(hands, book)
    again.restore(act.snapshot())
    (result,) = again.step(read(command("c2")), NOW)
    assert result.outcome == "refused"
    assert hands.ran == []
    (result,) = again.step(read(switch("off"), command("c3")), NOW)
    assert result.outcome == "succeeded"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"action": "format_disk"}, "no action 'format_disk'"),
        ({"parameters": {"shell": "true"}}, "no parameter 'shell'"),
        ({"action": "scale_out", "parameters": {"replicas": "99"}}, "must be from 1 to 3"),
    ],
)
def test_what_the_catalogue_does_not_know_is_refused(
    act: Act, hands: Hands, changes: dict[str, object], words: str
) -> None:
    (result,) = act.step(read(command(**changes)), NOW)
    assert result.outcome == "refused"
    assert words in result.detail
    assert hands.ran == []


def test_what_the_actuator_cannot_do_is_refused_with_its_reason(book: Book) -> None:
    hands = Hands(cannot="there is no replica shop/cart/9")
    (result,) = guarded(hands, book).step(read(command()), NOW)
    assert (result.outcome, result.detail) == ("refused", "there is no replica shop/cart/9")
    assert hands.ran == []


def test_i6_an_intent_without_result_is_probed_and_reported_but_never_run(act: Act, hands: Hands, book: Book) -> None:
    book.left = [Intent(command(), NOW - 5_000)]
    (result,) = act.step((), NOW)
    assert (result.outcome, result.started) == ("unknown", NOW - 5_000)
    assert (hands.probed, hands.ran) == (["c1"], [])
    assert list(act.step(read(command()), NOW)) == [result]
    assert hands.ran == []


def test_a_command_that_another_actuator_has_begun_is_left_to_it(act: Act, hands: Hands, book: Book) -> None:
    book.begun.add("c1")
    assert list(act.step(read(command()), NOW)) == []
    assert hands.ran == []


def test_a_command_is_refused_and_may_come_again_while_another_actuator_is_stuck(hands: Hands) -> None:
    book = Book(busy=True)
    (result,) = guarded(hands, book).step(read(command()), NOW)
    assert (result.outcome, result.detail.split(":")[0]) == ("refused", "lease_held")
    assert book.results == {}
