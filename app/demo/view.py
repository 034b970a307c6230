"""The demo's screen: services with health and sparkline, incidents, waiting decisions, actions, latencies."""

from __future__ import annotations

import select
import statistics
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from app.clock import now_ms
from app.demo.board import HOPS, Board, Seen
from app.demo.run import Demo
from app.history.render import clock, sentence
from app.printing import escaped, marked
from app.security.messages import publish
from app.security.votes import sign
from topics.incidents import Incident

BARS: Final = "▁▂▃▄▅▆▇█"
STALE_MS: Final = 2_000
HELP: Final = "[b]a[/b] approve  [b]r[/b] reject  [b]1-6[/b] break something  [b]q[/b] quit"


def spark(values: list[float]) -> str:
    """A sparkline of eight heights, scaled to the range of the values."""
    top = max(values, default=0.0)
    if top <= 0:
        return BARS[0] * len(values)
    return "".join(BARS[min(7, int(8 * value / (top * 1.001)))] for value in values)


def health(seen: Seen, incidents: list[Incident], entity: str, now: int) -> Text:
    """The health of an entity, as one word."""
    if any(entity in incident.affected for incident in incidents):
        return Text("incident", "bold red")
    if seen.last.get("up", 1.0) < 0.5:
        return Text("down", "red")
    if now - seen.at > STALE_MS:
        return Text("silent", "yellow")
    return Text("well", "green")


def services(board: Board) -> Table:
    """A table of all entities with their main figures."""
    now, incidents = now_ms(), board.open_incidents()
    table = Table(box=None, expand=True, pad_edge=False, header_style="dim")
    for name in ("service", "health", "req/s", "p95 ms", "busy", "memory MB", "history"):
        table.add_column(name, justify="left" if name in ("service", "health", "history") else "right")
    for entity, seen in sorted(board.entities.items()):
        if "/" not in entity:
            continue
        m = seen.last
        table.add_row(
            entity, health(seen, incidents, entity, now), f"{_find(m, 'request_rate'):.1f}",
            f"{1000 * _find(m, 'own_duration.p95'):.1f}", f"{100 * _find(m, 'server.utilization'):.0f}%",
            f"{_find(m, 'process.memory.usage') / 1e6:.0f}", Text(spark(list(seen.history)[-40:]), "cyan"),
        )  # fmt: skip
    for entity, seen in sorted(board.entities.items()):
        if "/" not in entity:
            cpu = seen.last.get("system.cpu.utilization", 0.0)
            table.add_row(f"{entity} (host)", health(seen, [], entity, now), "", "", f"{100 * cpu:.0f}%", "",
                          Text(spark(list(seen.history)[-40:]), "blue"))  # fmt: skip
    return table


def _find(metrics: dict[str, float], part: str) -> float:
    return next((v for k, v in metrics.items() if k.endswith(part)), 0.0)


def latencies(board: Board) -> Text:
    """Median and maximum of each hop, in milliseconds."""
    parts = []
    for hop in HOPS:
        found = list(board.hops[hop])
        parts.append(f"{hop} {statistics.median(found):.0f}/{max(found)}" if found else f"{hop} –")
    return Text("latency ms (median/worst):  " + "  ".join(parts), "dim")


def screen(demo: Demo, lines: list[RenderableType]) -> Group:
    """The whole screen."""
    board = demo.board
    parts: list[RenderableType] = [Panel(services(board), title=f"opsloop demo · {demo.broker.bootstrap}")]
    if left := demo.learning_s():
        parts.append(Text(f"learning what is ordinary, ready in {left:.0f} s: break something then", "yellow"))
    for incident in board.open_incidents()[:3]:
        parts.append(_line(sentence(incident)))
    for decision in board.waiting()[:3]:
        left = max(0, decision.expires - now_ms()) / 1000
        parts.append(marked(
            f"[yellow]waits for you ({left:.0f} s)[/yellow] {escaped(decision.proposal.action)} on "
            f"{escaped(decision.proposal.target)}: {escaped(decision.proposal.reasons[0])} [b]press a or r[/b]"
        ))  # fmt: skip
    parts += [*lines[-8:], latencies(board), marked(HELP)]
    return Group(*parts)


@contextmanager
def keys() -> Iterator[int]:
    """Set the terminal to deliver each key at once. At the end its former mode is restored."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        yield fd
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def show(demo: Demo, console: Console) -> None:
    """Draw four times a second until the demo ends. Keys approve, reject, break and quit."""
    lines: list[RenderableType] = []
    told = 0
    with keys() as fd, Live(console=console, refresh_per_second=4, transient=False) as live:
        while not demo.over.is_set():
            fresh = demo.board.told - told
            told += fresh
            for at, record in list(demo.board.lines)[-fresh:] if fresh else ():
                lines.append(_line(f"[dim]{clock(at)}[/dim] {sentence(record)}"))
            del lines[:-20]
            live.update(screen(demo, lines))
            if select.select([fd], [], [], 0.25)[0]:
                _press(demo, sys.stdin.read(1), lines)


def _line(markup: str) -> Text:
    """One line, cut at the width of the screen."""
    text = marked(markup)
    text.overflow, text.no_wrap = "ellipsis", True
    return text


def _press(demo: Demo, key: str, lines: list[RenderableType]) -> None:
    from app.demo.faults import FAULTS

    waiting = demo.board.waiting()
    if key == "q":
        demo.over.set()
    elif key in ("a", "r") and waiting:
        publish(
            demo.broker,
            sign(waiting[0], "approve" if key == "a" else "reject", _person(), "from the demo's screen"),
        )  # fmt: skip
    elif key.isdecimal() and 0 < int(key) <= len(FAULTS):
        if left := demo.learning_s():
            lines.append(Text(f"still learning what is ordinary: press it again in {left:.0f} s", "yellow"))
            return
        try:
            demo.inject(list(FAULTS)[int(key) - 1])
        except Exception as error:
            lines.append(Text(str(error), "red"))


def _person() -> str:
    import getpass

    return getpass.getuser()


def tell(demo: Demo, console: Console) -> None:
    """Print one line for each record until the demo ends, for output that is no terminal."""
    told, over = 0, False
    while not over:
        over = demo.over.wait(0.2)
        fresh = demo.board.told - told
        told += fresh
        for at, record in list(demo.board.lines)[-fresh:] if fresh else ():
            console.print(marked(f"{clock(at)} {sentence(record)}"), soft_wrap=True)
