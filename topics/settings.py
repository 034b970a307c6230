"""Live settings: kill switch, maintenance, grants of autonomy, and what people say of incidents."""

from __future__ import annotations

from topics.approvals import Approval
from topics.spec import Instant, Record, Topic, derive

KILL_SWITCH = "kill_switch"
ON = "on"
INCIDENT = "incident/"  # `incident/ID`: what a person says of an incident
ACKNOWLEDGED, RESOLVED = "acknowledged", "resolved"  # its values


class Setting(Record, frozen=True):
    """One value of one setting, written to every partition so that every worker sees it."""

    name: str
    value: str
    ts: Instant
    by: str
    reason: str = ""
    key: str = ""  # id of the key of `by`
    signature: bytes = b""  # Ed25519 over the other fields, see models.safety.signing
    approvals: tuple[Approval, ...] = ()  # the votes that a worker makes it on: a ratified promotion
    ends: str = ""  # of a permission to act again: `stop_id` of the stop that it ends; empty: of those before it


def stop_id(setting: Setting) -> str:
    """The id of a stop: the same in every partition that it was written to, and when it is read again."""
    return derive("stop", setting.by, setting.ts, setting.reason)


SETTINGS = Topic(
    "opsloop.settings", Setting, key=lambda setting: setting.name,
    what="live settings: the kill switch, maintenance, what people say of incidents",
    compact=True, broadcast=True,
)  # fmt: skip
