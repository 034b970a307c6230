"""The policies that come with Opsloop: `deploy/policies` in a checkout, `app/policy/defaults` in a wheel."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final

from app.policy.opa import Opa
from app.policy.settings import PolicySettings
from app.secrets import resolve
from models.policy.engine import Policies
from models.policy.rego import Rego

_HERE: Final = Path(__file__).parent
_PLACES: Final = (_HERE / "defaults", _HERE.parents[1] / "deploy" / "policies")


def texts() -> tuple[str, ...]:
    """The Rego texts of the shipped policies, by name. There is at least one: without policies a gate denies all."""
    folder = next(place for place in _PLACES if place.is_dir())
    return tuple(file.read_text() for file in sorted(folder.glob("*.rego")) if not file.stem.endswith("_test"))


_DEFAULTS: Final = PolicySettings()


@functools.cache
def policies(settings: PolicySettings = _DEFAULTS) -> Policies:
    """The compiled policies of this process, shipped ones included. All gates of the process share them."""
    evaluator = Opa(settings.opa, resolve(settings.opa_token), settings.opa_limit_ms / 1000) if settings.opa else Rego()
    return Policies(evaluator, texts())
