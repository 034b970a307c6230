"""`opsloop kill-switch`: every way that can stop is tried, and each result is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.__main__ import main
from app.client import Publisher
from app.clock import now_ms
from app.kafka.broker import read_all
from app.kafka.embedded import Embedded
from app.security.keys import enrol
from app.security.standing import standing
from app.security.switch import NAME, LocalSwitch
from topics.codec import decode
from topics.settings import KILL_SWITCH, SETTINGS, Setting


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that nobody can make, not even root."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OPSLOOP_HOME", str(tmp_path / "file" / "home"))
    return tmp_path / "file" / "home"


def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *line: str) -> tuple[int, str, str]:
    """The exit code, stdout and stderr of a line."""
    monkeypatch.setattr("sys.argv", ["opsloop", *line])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def moves(embedded: Embedded) -> set[str]:
    return {decode(raw).record.value for raw in read_all(embedded.broker, [SETTINGS.name])}  # type: ignore[attr-defined]


def test_with_an_unwritable_home_the_topic_is_told_and_the_file_that_failed_is_named(
    embedded: Embedded, nowhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, said = typed(monkeypatch, capsys, "kill-switch", "on", "--broker", embedded.bootstrap)
    assert (code, moves(embedded)) == (1, {"on"})
    assert f"{nowhere / NAME}: not a directory" in said
    assert "all workers that the broker reaches were told" in said
    LocalSwitch(nowhere).turn_off("file")


def test_with_nothing_that_works_everything_that_failed_is_told(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, said = typed(monkeypatch, capsys, "kill-switch", "on", "--broker", "127.0.0.1:1")
    assert code == 1
    assert f"{nowhere / NAME}: not a directory; {SETTINGS.name}: no broker at 127.0.0.1:1" in said
    LocalSwitch(nowhere).turn_off("file")


def test_a_secret_of_the_broker_that_is_missing_does_not_keep_this_host_from_stopping(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPSLOOP_KAFKA_SASL_PASSWORD", "file:/nowhere/secret")
    code, _, said = typed(monkeypatch, capsys, "kill-switch", "on")
    assert code == 1
    assert "the actuators of this host have stopped" in said
    assert LocalSwitch(home).said()


def test_without_a_broker_nothing_is_allowed_again(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    enrol(home)
    (home / NAME).write_text("")
    code, _, said = typed(monkeypatch, capsys, "kill-switch", "off", "--broker", "127.0.0.1:1")
    assert code == 1
    assert "nothing was changed" in said
    assert LocalSwitch(home).said()


@pytest.mark.parametrize("line", [("keys",), ("user", "add", "ana", "--role", "lead")], ids=" ".join)
def test_a_home_that_cannot_be_used_is_told_in_one_line(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: tuple[str, ...]
) -> None:
    code, _, said = typed(monkeypatch, capsys, *line)
    assert code == 1
    assert said.count("\n") == 1
    assert f"cannot use {nowhere}" in said
    assert "OPSLOOP_HOME" in said


def test_an_admin_whose_clock_is_behind_ends_a_stop_because_its_id_is_named(
    embedded: Embedded, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    enrol(home)
    with Publisher(embedded.broker) as publisher:
        publisher.send(Setting(name=KILL_SWITCH, value="on", ts=now_ms(), by="ben", reason="smoke"))
    assert standing(embedded.broker, home).killed
    monkeypatch.setattr("app.security.messages.now_ms", lambda: now_ms() - 20_000)
    typed(monkeypatch, capsys, "kill-switch", "off", "--broker", embedded.bootstrap)
    assert standing(embedded.broker, home).killed == ""
