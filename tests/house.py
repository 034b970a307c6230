"""The rooms of app/ drawn from their imports. `python tests/house.py` writes the picture into docs/architecture.md."""

from __future__ import annotations

import re
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

import grimp

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "architecture.md"
GROUND: Final = "ground"  # every file of app/ that stands in no room, but these
ALONE: Final = frozenset({"client", "pipeline", "testing"})
STANDING: Final = ("runtime", "security", "client", "kafka")  # what the rooms stand on
BESIDE: Final = ("bench", "drills", "demo", "offline")
PICTURE: Final = re.compile(r"```mermaid\n.*?```\n", re.S)

Arrows = dict[str, set[str]]  # a room → the rooms that it imports from


def arrows() -> Arrows:
    """Who imports from whom. A room's settings.py belongs to nobody: any part may import it."""
    graph, found = grimp.build_graph("app", cache_dir=None), defaultdict[str, set[str]](set)
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            one, other = _room(module), _room(imported)
            if one != other and "__main__" not in (one, other) and not imported.endswith(".settings"):
                found[one].add(other)
    return dict(found)


def _room(module: str) -> str:
    name = module.split(".")[1] if "." in module else GROUND
    return name if name in ALONE or name == "__main__" or (ROOT / "app" / name).is_dir() else GROUND


def rooms() -> set[str]:
    """The rooms above the ground floor and above what all rooms stand on."""
    return {file.parent.name for file in (ROOT / "app").glob("*/__init__.py")} - set(STANDING)


def reduced(found: Arrows) -> Arrows:
    """Without the arrows that follow from others. Raises graphlib.CycleError when there is a circle."""
    below: dict[str, set[str]] = {}
    for room in TopologicalSorter(found).static_order():
        below[room] = set().union(*({inner} | below[inner] for inner in found.get(room, ())))
    return {
        room: {inner for inner in inners if not any(inner in below[other] for other in inners)}
        for room, inners in found.items()
    }


def draw() -> str:
    """The picture, as Mermaid: an arrow points to what is imported."""
    found = reduced(arrows())
    floors = {"beside": BESIDE, "rooms": sorted(rooms() - {*BESIDE, "cli"}), "standing": STANDING}
    titles = {"beside": "beside the stream", "rooms": "rooms of the map", "standing": "what rooms stand on"}
    lines = ["```mermaid", "flowchart TD", "    cli"]
    for floor, names in floors.items():
        lines += [f"    subgraph {floor} [{titles[floor]}]", f"        {' & '.join(names)}", "    end"]
    lines += [f"    {GROUND}[ground floor: {', '.join(_files())}]"]
    lines += [f"    {room} --> {' & '.join(sorted(found[room]))}" for room in sorted(found) if found[room]]
    return "\n".join([*lines, "```", ""])


def _files() -> list[str]:
    return sorted(
        file.stem for file in (ROOT / "app").glob("*.py") if file.stem not in {*ALONE, "__init__", "__main__"}
    )


if __name__ == "__main__":
    PAGE.write_text(PICTURE.sub(lambda _: draw(), PAGE.read_text(), count=1))
