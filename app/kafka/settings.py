"""How many partitions the topics of Opsloop have."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from topics.spec import PARTITIONS

MOST: Final = 1_000  # partitions of one topic; more than that one cluster serves of all topics without care

Partitions = Annotated[int, msgspec.Meta(ge=1, le=MOST)]


class TopicsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Partitions by family. `opsloop topics apply` creates topics with them; `opsloop topics grow` changes a family
    that has data."""

    telemetry_partitions: Partitions = PARTITIONS
    """Partitions of the samples. At most so many workers of the lane share them. Default 6."""
    loop_partitions: Partitions = PARTITIONS
    """Partitions of every topic that the loop reads or writes, the same for all. At most so many workers share them.
    Default 6."""
