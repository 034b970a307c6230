"""The policies that come with Opsloop: `deploy/policies` in a checkout, `app/policy/defaults` in a wheel."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final

from models.policy.engine import Policies
from models.policy.rego import Rego

_HERE: Final = Path(__file__).parent
_PLACES: Final = (_HERE / "defaults", _HERE.parents[1] / "deploy" / "policies")


def texts() -> tuple[str, ...]:
    """Their Rego files, by name. There is at least one: a gate without policies denies everything."""
    folder = next(place for place in _PLACES if place.is_dir())
    return tuple(file.read_text() for file in sorted(folder.glob("*.rego")) if not file.stem.endswith("_test"))


@functools.cache
def policies() -> Policies:
    """The policies of this process: those that are shipped, asked in this process. Ready texts are shared."""
    return Policies(Rego(), texts())
