"""Detectors by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models.detection import members
from models.detection.gaussian import Gaussian


class Other(Gaussian):
    name = "other"


@pytest.fixture(autouse=True)
def members_as_they_were() -> Iterator[None]:
    yield
    members.add([])


def test_a_detector_that_is_added_is_known_until_others_are() -> None:
    members.add([Other])
    assert members.member("other") is Other
    assert members.names() == (*members.MEMBERS, "other")
    members.add([])
    with pytest.raises(KeyError):
        members.member("other")


def test_a_shipped_detector_cannot_be_replaced() -> None:
    with pytest.raises(ValueError, match="gaussian: a shipped detector has this name"):
        members.add([type("Gaussian", (Other,), {"name": "gaussian"})])
    assert members.member("gaussian") is Gaussian
