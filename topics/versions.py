"""Signed versions of texts: what an admin says of one version of a policy or a pack."""

from __future__ import annotations

from topics.spec import Count, Instant, Record


class Version(Record, frozen=True):
    """What an admin says of one version of a text. The last record of a name in the log says which version holds."""

    name: str  # as its text says
    version: Count  # from 1; never used for another text
    ts: Instant
    by: str
    source: str  # the text
    active: bool  # whether this version is to hold; False of the one that holds: none does
    comment: str = ""
    commit: str = ""  # of the Git repository that it came from
    key: str = ""  # id of the key of `by`
    signature: bytes = b""  # Ed25519 over the fields above, see models.versions


def key_of(version: Version) -> str:
    """The key of its message: compaction keeps the newest record of each version."""
    return f"{version.name}/{version.version}"
