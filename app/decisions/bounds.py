"""Collects the bounds of decisions: the settings of deciding and of safety, and the policies."""

from __future__ import annotations

from app.policy.shipped import policies
from app.settings import Settings
from models.decision.advisor import Bounds


def bounds(settings: Settings) -> Bounds:
    """The bounds of these settings, with no policy loaded yet."""
    return Bounds(settings.decision, settings.safety, policies(settings.policy))
