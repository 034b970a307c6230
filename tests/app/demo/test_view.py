"""What the demo prints where there is no terminal."""

from __future__ import annotations

import io
import threading
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from app.demo import view
from tests.builders import NOW, incident


def test_lines_are_printed_without_the_marks_of_their_colours() -> None:
    written, over = io.StringIO(), threading.Event()
    over.set()
    demo: Any = SimpleNamespace(over=over, board=SimpleNamespace(told=1, lines=[(NOW, incident())]))
    view.tell(demo, Console(file=written, markup=False, width=200))
    assert "[bold]" not in written.getvalue()
    assert "incident" in written.getvalue()
