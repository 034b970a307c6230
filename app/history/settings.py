"""How much of the history is kept ready to be asked for."""

from __future__ import annotations

from typing import Annotated

import msgspec


class HistorySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of the index that commands and the API answer from. What is dropped from it stays on the topics."""

    days: Annotated[float, msgspec.Meta(gt=0, le=36_500)] = 30.0
    """Records that arrived longer ago are dropped from the index; the newest value of each live setting stays."""
    rows: Annotated[int, msgspec.Meta(ge=100)] = 5_000_000
    """Rows of each table (records, anomalies, audit entries, dead letters); the oldest are dropped first."""
    megabytes: Annotated[int, msgspec.Meta(ge=4)] = 4_000
    """Space that rows may take in the file, in 10^6 bytes; the oldest are dropped first."""
