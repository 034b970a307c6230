"""The kill switch: anybody stops everything, an admin allows acting again.

Settings count in the order of the log, not of their authors' clocks: a stop always counts when it comes, and a
permission that comes after it ends it. Because both can be sent again by anybody who may write the topic, a stop that
was ended is known by its id, and a permission counts once: it must name the stop that it ends, or be signed after that
stop and after every permission of its author so far.
"""

from __future__ import annotations

from typing import Final

from models.keyed import KeyedState, Table, table
from models.safety.roles import may
from models.safety.signing import Keyring, Refused, check_clock, setter
from topics.settings import KILL_SWITCH, ON, Setting, stop_id
from topics.spec import Instant

KEPT: Final = 200  # stops and authors remembered; of a stop that is forgotten a repeat stops again


class KillSwitch(KeyedState):
    """Whether anything may act. The whole state of `act`, a part of others."""

    killed: str = ""  # who stopped it and why; empty: it is off
    moved: Instant = 0  # when it was last moved: by its author's clock, at most the time of arrival
    stops: Table[Instant] = table(KEPT)  # in force: id → when
    ended: Table[Instant] = table(KEPT)  # stops that a permission has ended: id → when
    allowed: Table[Instant] = table(KEPT)  # author → time of the newest permission

    def take(self, setting: Setting, keyring: Keyring, arrived: Instant) -> None:
        """Obey a setting, which the broker has had since `arrived`. Call it in the order of the log.

        Raises:
            Refused: who wants to allow acting has not signed it or may not, clock_ahead, or outdated when it may be an
                old permission that somebody has sent again.
        """
        if setting.name != KILL_SWITCH:
            return
        if setting.value == ON:
            self._stop(setting, arrived)
        elif self.killed:
            self._allow(setting, keyring, arrived)

    def _stop(self, setting: Setting, arrived: Instant) -> None:
        """Stop. It needs no signature, so its time is not believed beyond its arrival."""
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
            return  # the same one, read again
        if setting.ends not in self.stops and setting.ts < max(known, *self.stops.values()):
            raise Refused("outdated", f"{who.name} has signed it at {setting.ts}, before the stop that it would end")
        self.allowed[who.name] = max(setting.ts, known)
        for identity in self.stops:
            self.ended[identity] = setting.ts
        self.stops.clear()
        self.killed, self.moved = "", setting.ts
