"""Who is in the demo, and what is said of them."""

from __future__ import annotations

import getpass
from pathlib import Path

from app.demo.people import PEOPLE, introduced, invite
from app.security.keys import WORKER, Keys
from models.safety.roles import Role


def test_a_new_home_gets_one_person_for_each_role_and_it_is_said_who_may_approve_what(home: Path) -> None:
    keys = invite(home)
    assert {e.name for e in keys.entries()} == {WORKER, getpass.getuser(), *PEOPLE}
    assert {e.name for e in invite(home).entries() if not e.revoked} == {e.name for e in keys.entries()}
    assert len(invite(home).entries()) == len(keys.entries()), "nobody is invited twice"
    told = list(introduced(keys))
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
    told = "\n".join(introduced(invite(home)))
    assert "ana (viewer) looks" in told
    assert "gone" not in told
