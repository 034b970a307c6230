"""The kill switch: anybody may stop all actions, an admin may allow them again.

Settings count in the order of the log, not of their authors' clocks: a stop takes effect when it is read, and a later
permission ends it. Anybody who may write the topic could send old ones again. Therefore stops that were ended are known
by their ids, and a permission counts once: it must name the stop that it ends, or be signed after that stop and after
all earlier permissions of its author.
"""

from __future__ import annotations

from typing import Final

from models.keyed import KeyedState, Table, table
from models.safety.roles import may
from models.safety.signing import Keyring, Refused, check_clock, setter
from topics.settings import KILL_SWITCH, ON, Setting, stop_id
from topics.spec import Instant

KEPT: Final = 200  # stops and authors remembered; a repeat of a forgotten stop stops again


class KillSwitch(KeyedState):
    """Whether actions are stopped. The whole state of `act`, and part of other states."""

    killed: str = ""  # who stopped actions and why; empty: not stopped
    moved: Instant = 0  # time of the last change: its author's, at most that of arrival
    stops: Table[Instant] = table(KEPT)  # stops in effect: id → time
    ended: Table[Instant] = table(KEPT)  # stops that a permission ended: id → time
    allowed: Table[Instant] = table(KEPT)  # author → time of their newest permission

    def take(self, setting: Setting, keyring: Keyring, arrived: Instant) -> None:
        """Apply a setting. Call it in the order of the log. arrived: time of the broker (ms since 1970).

        Raises:
            Refused: a permission is not signed by somebody who may `resume`; clock_ahead; or outdated when it may be an
                old permission that was sent again.
        """
        if setting.name != KILL_SWITCH:
            return
        if setting.value == ON:
            self._stop(setting, arrived)
        elif self.killed:
            self._allow(setting, keyring, arrived)

    def _stop(self, setting: Setting, arrived: Instant) -> None:
        """Stop all actions. A stop needs no signature, so its time counts as at most that of its arrival."""
        identity, said = stop_id(setting), min(setting.ts, arrived)
        if identity in self.ended or identity in self.stops:
            return
        self.stops[identity] = said
        self.killed, self.moved = f"{setting.by}: {setting.reason}", said

    def _allow(self, setting: Setting, keyring: Keyring, arrived: Instant) -> None:
        who = setter(setting, keyring)
        if not may(who.roles, "resume"):
            raise Refused("wrong_role", f"{who.name} may not allow acting again")
        check_clock(setting.ts, arrived)
        known = self.allowed.get(who.name, 0)
        if setting.ts == known:
            return  # a repeat of the newest permission
        if setting.ends not in self.stops and setting.ts < max(known, *self.stops.values()):
            raise Refused("outdated", f"{who.name} has signed it at {setting.ts}, before the stop that it would end")
        self.allowed[who.name] = max(setting.ts, known)
        for identity in self.stops:
            self.ended[identity] = setting.ts
        self.stops.clear()
        self.killed, self.moved = "", setting.ts
