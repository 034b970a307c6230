"""The kill switch: anybody stops, an admin allows, the newest word counts."""

from __future__ import annotations

import msgspec
import pytest

from models.safety.signing import Refused, sign_setting
from models.safety.switch import KillSwitch
from tests.builders import NOW, reread, switch
from tests.keys import RING, key_of
from topics.settings import KILL_SWITCH, Setting

replace = msgspec.structs.replace


def on(ts: int = NOW) -> Setting:
    """Without any signature."""
    return Setting(name=KILL_SWITCH, value="on", ts=ts, by="anybody", reason="smoke")


def stopped() -> KillSwitch:
    held = KillSwitch()
    held.take(on(), RING, NOW)
    assert held.killed == "anybody: smoke"
    return held


def test_stopping_needs_no_key_and_an_admin_allows_again() -> None:
    held = stopped()
    held.take(switch("off", NOW + 1), RING, NOW + 1)
    assert held.killed == ""


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        (Setting(name=KILL_SWITCH, value="off", ts=NOW + 1, by="ada"), "unsigned"),
        (replace(switch("off", NOW + 1), reason="another"), "forged"),
        (sign_setting(Setting(name=KILL_SWITCH, value="off", ts=NOW + 1, by="ana"), key_of("ana")), "wrong_role"),
        (sign_setting(Setting(name=KILL_SWITCH, value="off", ts=NOW + 1, by="ada"), key_of("ana")), "wrong_voter"),
        (sign_setting(Setting(name=KILL_SWITCH, value="off", ts=NOW + 1, by="x"), key_of("x")), "unknown_key"),
    ],
)
def test_nobody_else_allows_acting_again(setting: Setting, code: str) -> None:
    held = stopped()
    with pytest.raises(Refused) as refused:
        held.take(setting, RING, NOW + 1)
    assert refused.value.code == code
    assert held.killed


def test_an_old_permission_that_is_played_again_allows_nothing() -> None:
    held = KillSwitch()
    old = switch("off", NOW - 1_000)
    held.take(on(), RING, NOW)
    held.take(old, RING, NOW + 1)
    assert held.killed


def test_a_history_that_is_read_again_ends_as_it_did() -> None:
    held = KillSwitch()
    for setting in [on(), switch("off", NOW + 1)] * 3:
        held.take(setting, RING, NOW + 5)
    assert held.killed == ""


def test_a_stop_from_the_far_future_can_be_lifted() -> None:
    held = KillSwitch()
    held.take(on(NOW * 100), RING, NOW)
    held.take(switch("off", NOW + 1), RING, NOW + 1)
    assert held.killed == ""


def test_it_survives_a_restart() -> None:
    again = reread(stopped())
    assert again.killed
