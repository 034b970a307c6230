"""Packs: signed versions of what is known of a kind of entity."""

from __future__ import annotations

from topics.spec import Topic
from topics.versions import Version, key_of


class PackVersion(Version, frozen=True):
    """What an admin says of one version of a pack; `source` is its TOML text, see docs/packs.md."""


PACKS = Topic("opsloop.packs", PackVersion, key=key_of, what="signed versions of packs", compact=True, broadcast=True)
