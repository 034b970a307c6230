"""How long an entity may stay away before it counts as gone: by its kind, as settings or packs say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Final

import msgspec

from topics.spec import Instant

Seconds = Annotated[float, msgspec.Meta(gt=0.0, le=10 * 365 * 86_400.0)]

# what comes and goes by itself, and what is missed for days before somebody has removed it
USUAL_S: Final[Mapping[str, float]] = {
    "container": 900.0, "pod": 900.0, "instance": 3_600.0, "host": 3 * 86_400.0,
}  # fmt: skip


class EntitySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When entities end."""

    ttl_s: dict[str, Seconds] = {}
    """Kind of entity → seconds without a sample after which it is gone, and with it its series, its symptoms and its
    incidents. A kind that is not named here: as a pack says (`ttl_s`), else as docs/entities.md has it."""
    other_ttl_s: Seconds = 10 * 86_400.0
    """The same for an entity of which nobody says such a kind. Its incidents end sooner: `[incidents] gone_ms`."""


DEFAULTS: Final = EntitySettings()


def ttl_ms(kinds: Iterable[str], settings: EntitySettings, packs: Mapping[str, float]) -> Instant | None:
    """The longest time to live of some kinds, in milliseconds; None: nobody says one. packs: kind → seconds."""
    said = (settings.ttl_s.get(kind, packs.get(kind, USUAL_S.get(kind))) for kind in kinds)
    return max((round(1000 * seconds) for seconds in said if seconds is not None), default=None)
