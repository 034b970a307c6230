"""The kill switch as a file."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from app.client import Publisher
from app.clock import now_ms
from app.kafka.embedded import Embedded
from app.security.keys import Keys
from app.security.switch import NAME, LocalSwitch, Said
from models.safety.switch import KillSwitch
from tests.processes import until
from topics.settings import KILL_SWITCH, Setting


def test_nobody_has_turned_it_on_at_first(tmp_path: Path) -> None:
    assert LocalSwitch(tmp_path / "nowhere", tmp_path).said() == ""


def test_it_says_who_and_why_and_where_also_in_another_process(tmp_path: Path) -> None:
    LocalSwitch(tmp_path).turn_on(Said("ana", "smoke", 5))
    said = LocalSwitch(tmp_path).said()
    assert said == f"ana: smoke ({tmp_path / NAME})"


def test_a_stop_without_a_reason_is_told_without_an_empty_one(tmp_path: Path) -> None:
    switch = LocalSwitch(tmp_path)
    switch.turn_on(Said("ana", ""))
    assert switch.said().startswith("ana (")


def test_what_cannot_be_read_is_on(tmp_path: Path) -> None:
    for content in (b"", b"\xff{", b'{"by": 5}'):
        (tmp_path / NAME).write_bytes(content)
        assert LocalSwitch(tmp_path).said()


def test_the_topic_takes_away_only_what_the_topic_has_put(tmp_path: Path) -> None:
    site, home = tmp_path / "site", tmp_path
    switch = LocalSwitch(site, home)
    switch.turn_on(Said("ana", "", 1, "topic"))
    assert (site / NAME).exists()
    switch.turn_off("topic")
    assert switch.said() == ""
    LocalSwitch(home).turn_on(Said("ben", "by hand", 2))
    switch.turn_on(Said("ana", "", 3, "topic"))
    switch.turn_off("topic")
    assert "by hand" in switch.said()
    switch.turn_off("file")
    assert switch.said() == ""


def test_what_a_hand_has_put_there_is_not_written_over(tmp_path: Path) -> None:
    switch = LocalSwitch(tmp_path)
    switch.turn_on(Said("ben", "by hand", 2))
    switch.turn_on(Said("ana", "", 3, "topic"))
    assert "ben" in switch.said()


def unwritable(folder: Path) -> Path:
    """A folder that nobody can make, not even root: there is a file where its parent should be."""
    (folder / "file").write_text("")
    return folder / "file" / "home"


def test_the_next_folder_is_tried_when_one_cannot_be_written(tmp_path: Path) -> None:
    switch = LocalSwitch(unwritable(tmp_path), tmp_path)
    first, second = switch.turn_on(Said("ana", "smoke", 5))
    assert (first.error, second.error, second.way) == ("not a directory", "", str(tmp_path / NAME))
    assert "smoke" in switch.said()


def test_when_no_folder_can_be_written_this_process_stops_all_the_same_until_it_may_go_on(tmp_path: Path) -> None:
    nowhere = unwritable(tmp_path)
    (tried,) = LocalSwitch(nowhere).turn_on(Said("ana", "smoke", 5, "topic"))
    assert tried.error == "not a directory"
    assert "smoke" in LocalSwitch(nowhere).said(), "another part of this process asks it"
    LocalSwitch(nowhere).turn_off("topic")
    assert LocalSwitch(nowhere).said() == ""


def test_a_folder_that_cannot_be_looked_into_counts_as_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", forbidden)
    assert LocalSwitch(tmp_path).said()


def test_what_cannot_be_removed_is_told(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    (tried,) = LocalSwitch(tmp_path).turn_off("file")
    assert tried.error


def test_no_record_ends_the_follower_of_the_topic(
    embedded: Embedded, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = KillSwitch.take

    def brittle(switch: KillSwitch, setting: Setting, *rest: object) -> None:
        if setting.name == "poison":
            raise ValueError("poison")
        take(switch, setting, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(KillSwitch, "take", brittle)
    switch, over = LocalSwitch(unwritable(tmp_path)), threading.Event()
    follower = threading.Thread(target=switch.follow, args=(embedded.broker, Keys(home), over.is_set), daemon=True)
    follower.start()
    with Publisher(embedded.broker) as publisher:
        for name, value in (("poison", "1"), (KILL_SWITCH, "on")):
            publisher.send(Setting(name=name, value=value, ts=now_ms(), by="ana", reason="smoke"))
    until(lambda: "smoke" in switch.said())
    over.set()
    follower.join(10)
    assert not follower.is_alive()
    switch.turn_off("file")
