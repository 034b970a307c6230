"""Who is in the demo, and what is said of them."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from app.demo.people import PEOPLE, at_home, demo_home, introduce, invite, left_behind
from app.security.keys import WORKER, Keys
from app.security.switch import of_this_host
from app.settings import home as home_of_this_process
from models.safety.roles import Role


def test_a_new_home_gets_one_person_for_each_role_and_it_is_said_who_may_approve_what(home: Path) -> None:
    keys = invite(home)
    assert {e.name for e in keys.entries()} == {WORKER, getpass.getuser(), *PEOPLE}
    assert {e.name for e in invite(home).entries() if not e.revoked} == {e.name for e in keys.entries()}
    assert len(invite(home).entries()) == len(keys.entries()), "nobody is invited twice"
    told = list(introduce(keys))
    assert "olga (operator) asks for changes, and has no vote" in told
    assert "paula (approver) says yes or no at a confidence below 0.70 or from 0.85; between takes a lead" in told
    assert "leo (lead) says yes or no to everything" in told
    assert not any(WORKER in line for line in told)


def test_a_home_with_people_of_its_own_gets_no_others(home: Path) -> None:
    keys = Keys(home)
    keys.add("ana", (Role.VIEWER,))
    keys.add("gone", (Role.APPROVER,))
    keys.revoke("gone")
    assert {e.name for e in invite(home).entries()} == {WORKER, getpass.getuser(), "ana", "gone"}
    told = "\n".join(introduce(invite(home)))
    assert "ana (viewer) looks" in told
    assert "gone" not in told


def test_the_demo_has_a_home_of_its_own_and_nobody_else_believes_its_people(home: Path) -> None:
    with at_home() as ours:
        assert home_of_this_process() == ours == home / "demo"
        invite(home_of_this_process())
        assert demo_home(ours) == ours, "a demo within the demo's home makes no other"
        with at_home() as again:
            assert again == ours
    assert os.environ["OPSLOOP_HOME"] == str(home)
    assert Keys(home).entries() == []
    assert {"olga", "paula", "leo"} <= {entry.name for entry in Keys(ours).entries()}
    assert ours.stat().st_mode & 0o077 == 0, "their private keys are in it"


def test_people_whom_an_earlier_demo_left_in_the_users_home_are_told(home: Path) -> None:
    keys = invite(home)
    assert left_behind(home) == sorted(PEOPLE)
    keys.revoke("olga")
    keys.grant("leo", (Role.LEAD, Role.ADMIN))
    assert left_behind(home) == ["paula"]
    with at_home() as ours:
        invite(ours)
        assert left_behind(ours) == []


def test_who_stops_this_host_stops_the_demo_too(home: Path) -> None:
    with at_home() as ours:
        invite(ours)
    users, demos = of_this_host(home)
    assert [switch.files[0].parent for switch in (users, demos)] == [home, ours]
