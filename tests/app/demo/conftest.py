"""One running site for a file of tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.demo.site import Site


@pytest.fixture(scope="module")
def site_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, site_home: Path) -> Iterator[Site]:
    """A site at rest, with its pointer in a home of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPSLOOP_HOME", str(site_home))
        site = Site.start(tmp_path_factory.mktemp("site"))
        try:
            yield site
        finally:
            site.stop()


@pytest.fixture
def within() -> Callable[[float, Callable[[], bool]], bool]:
    """Ask until it is so; False when it is not within that many seconds."""

    def wait(limit_s: float, so: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + limit_s
        while not so():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    return wait


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    return tmp_path / "site"
