"""A fault waits until the demo knows what is ordinary."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from app.demo import learning
from app.errors import UserError


def test_a_fault_waits_until_detection_is_ready_and_is_told_how_long(tmp_path: Path) -> None:
    told: list[str] = []
    learning.begin(tmp_path, 11.0)
    waiting = threading.Thread(target=learning.wait, args=(tmp_path, told.append))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    learning.end(tmp_path)
    waiting.join(10)
    assert not waiting.is_alive()
    assert told == ["the demo still learns what is ordinary: the fault comes in about 11 s"]


def test_where_nobody_learns_a_fault_comes_at_once(tmp_path: Path) -> None:
    told: list[str] = []
    learning.wait(tmp_path, told.append)
    learning.end(tmp_path)
    assert told == []


def test_a_demo_that_does_not_get_ready_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "LIMIT_S", 0.0)
    learning.begin(tmp_path, 11.0)
    with pytest.raises(UserError, match="does not get ready"):
        learning.wait(tmp_path, lambda _: None)
