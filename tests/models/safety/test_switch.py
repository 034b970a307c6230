"""The kill switch: anybody stops, an admin allows, the newest word counts."""

from __future__ import annotations

import msgspec
import pytest

from models.safety.signing import Refused, sign_setting
from models.safety.switch import KillSwitch
from tests.builders import NOW, reread, switch
from tests.keys import RING, key_of
from topics.settings import KILL_SWITCH, Setting, stop_id

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
    with pytest.raises(Refused, match="outdated"):
        held.take(old, RING, NOW + 1)
    assert held.killed


def test_a_stop_counts_although_the_clock_of_who_allowed_acting_before_was_fast() -> None:
    held, minute = stopped(), 60_000
    allowed = switch("off", NOW + 4 * minute)
    held.take(allowed, RING, NOW + 1)
    held.take(on(NOW + minute), RING, NOW + minute)
    assert held.killed, "the later word in the log is the stop"
    held.take(allowed, RING, NOW + 2 * minute)
    assert held.killed, "somebody has sent the old permission again"


def test_a_permission_from_far_ahead_is_refused_with_what_is_to_be_done() -> None:
    held = stopped()
    with pytest.raises(Refused, match=r"clock_ahead: .* set the clock"):
        held.take(switch("off", NOW + 10 * 60_000), RING, NOW + 1)
    assert held.killed


def test_an_admin_with_a_slow_clock_names_the_stop_that_is_to_end() -> None:
    held = stopped()
    bare = replace(switch("off", NOW - 600_000), signature=b"")
    late = replace(on(NOW + 5), reason="another")
    held.take(sign_setting(replace(bare, ends=stop_id(on())), key_of("ada")), RING, NOW + 1)
    assert held.killed == ""
    held.take(late, RING, NOW + 5)
    with pytest.raises(Refused, match="outdated"):
        held.take(sign_setting(replace(bare, ts=bare.ts + 1, ends=stop_id(on())), key_of("ada")), RING, NOW + 6)
    assert held.killed


def test_what_is_written_to_every_partition_is_one_word_to_who_reads_them_all() -> None:
    held = KillSwitch()
    first, end, second = on(), switch("off", NOW + 1), on(NOW + 2)
    for setting in (first, end, second, first, end):
        held.take(setting, RING, NOW + 5)
    assert held.killed
    for setting in (switch("off", NOW + 3), second, first, end, second):
        held.take(setting, RING, NOW + 5)
    assert held.killed == ""


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
