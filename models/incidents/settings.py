"""When incidents end by themselves, and which symptoms may belong to one."""

from __future__ import annotations

from typing import Final

import msgspec

from models.topology.lifetimes import EntitySettings
from topics.patterns import rules_of
from topics.spec import Count, Instant


class IncidentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When an incident ends without an action or a person."""

    gone_ms: Count = 600_000
    """Milliseconds without a sample after which an affected entity counts as gone: deleted, scaled in or renamed.

    It is for entities of a kind that has no time to live of its own (docs/entities.md). An incident without other
    affected entities then ends as `gone`. Set it above the longest gap in your telemetry.
    """
    domains: dict[str, str] = {}
    """Pattern of entities → their correlation domain: symptoms of one domain may belong to one incident. The first
    match counts, and what none matches is in `main`. `{0}` in a name is the entity's system: `"*" = "{0}"` gives each
    system a domain of its own. Every process needs the same domains: they are the keys of topics."""

    def __post_init__(self) -> None:
        rules_of(self.domains, parts=1)


DEFAULTS: Final = IncidentSettings()


def shortest_ms(settings: IncidentSettings, entities: EntitySettings) -> Instant:
    """The shortest time without a sample after which some entity is gone, as settings say."""
    return min([settings.gone_ms, *(round(1000 * seconds) for seconds in entities.ttl_s.values())])
