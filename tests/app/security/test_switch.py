"""The kill switch as a file."""

from __future__ import annotations

from pathlib import Path

from app.security.switch import NAME, LocalSwitch, Said


def test_nobody_has_turned_it_on_at_first(tmp_path: Path) -> None:
    assert LocalSwitch(tmp_path / "nowhere", tmp_path).said() == ""


def test_it_says_who_and_why_and_where_also_in_another_process(tmp_path: Path) -> None:
    LocalSwitch(tmp_path).turn_on(Said("ana", "smoke", 5))
    said = LocalSwitch(tmp_path).said()
    assert said == f"ana: smoke ({tmp_path / NAME})"


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
