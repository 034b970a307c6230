"""The kill switch: anybody may stop everything, an admin allows acting again, and the newest word counts."""

from __future__ import annotations

from models.keyed import KeyedState
from models.safety.roles import may
from models.safety.signing import Keyring, Refused, setter
from topics.settings import KILL_SWITCH, ON, Setting
from topics.spec import Instant


class KillSwitch(KeyedState):
    """Whether anything may act. The whole state of `act`, a part of others."""

    killed: str = ""  # who stopped it and why; empty: it is off
    moved: Instant = 0  # when it was last moved

    def take(self, setting: Setting, keyring: Keyring, now: Instant) -> None:
        """Obey a setting, unless a newer one was obeyed before.

        Raises:
            Refused: who wants to allow acting has not signed it, or may not.
        """
        if setting.name != KILL_SWITCH or setting.ts < self.moved:
            return
        if setting.value == ON:
            self.killed = f"{setting.by}: {setting.reason}"
            self.moved = min(setting.ts, now)  # a stop needs no signature, so its time is not believed either
        elif self.killed:
            who = setter(setting, keyring)
            if not may(who.roles, "resume"):
                raise Refused("wrong_role", f"{who.name} may not allow acting again")
            self.killed, self.moved = "", setting.ts
