"""Flows share brokers, so each of them has systems of its own, and each system a domain of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import topics.spec
from app.drills.processes import spread_systems


@pytest.fixture(autouse=True, scope="session")
def domains() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(topics.spec, "_domains", None)
        patched.setenv("OPSLOOP_INCIDENTS__DOMAINS", "{}")  # so that it is taken away afterwards
        spread_systems()
        yield
