"""Every command in README and docs: those in a block marked `run` are run, all others must exist with their options."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli import Unloaded, build
from app.runtime.parent import FOLLOW

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(<!-- run(?:: \w+)? -->\n)?```console\n(.*?)```", re.S)


def blocks(page: Path) -> Iterator[tuple[bool, str]]:
    for marked, text in BLOCK.findall(page.read_text()):
        yield bool(marked), text


def commands() -> Iterator[tuple[str, str]]:
    """(page, command line) of everything that begins with `opsloop` or `make`."""
    for page in PAGES:
        text = page.read_text()
        inline = re.findall(r"`((?:opsloop|make) [^`\n]+)`", text)
        lines = [line.strip() for _, block in blocks(page) for line in block.splitlines()]
        for line in [*inline, *lines]:
            if line.startswith(("opsloop ", "make ")):
                yield page.name, line.split("  #")[0].rstrip("& ")


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_every_command_of_the_docs_exists(page: str, line: str) -> None:
    words = shlex.split(line.replace("…", "").replace("FAULT[:SERVICE]", "kill"))
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert next(w for w in words[1:] if "=" not in w) in targets, f"{page}: {line}"
        return
    command: Any = typer.main.get_command(build())
    rest = words[1:]
    while hasattr(command, "commands") and not rest[0].startswith("--"):
        name, rest = rest[0], rest[1:]
        assert name in command.commands, f"{page}: opsloop has no {name!r} ({line})"
        command = command.commands[name]
        command = command.load() if isinstance(command, Unloaded) else command
    options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    for word in rest:
        if word.startswith("--"):
            assert word.split("=")[0] in options, f"{page}: {line} has no {word}"


@pytest.mark.kafka
@pytest.mark.timeout(300)
def test_the_commands_of_the_readme_run_as_they_stand(tmp_path: Path) -> None:
    script = "\n".join(text for page in PAGES for marked, text in blocks(page) if marked)
    assert "opsloop kafka up" in script
    with socket.socket() as free, socket.socket() as other:
        free.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, receiver = free.getsockname()[1], other.getsockname()[1]
    script = script.replace("opsloop kafka up", f"opsloop kafka up --port {port}")
    script = script.replace("127.0.0.1:9464", f"127.0.0.1:{receiver}")
    env = {
        **os.environ, "OPSLOOP_HOME": str(tmp_path), "OPSLOOP_BROKER": f"127.0.0.1:{port}", FOLLOW: "",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    try:
        done = subprocess.run(
            ["bash", "-euc", f"trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n{script}"], env=env, cwd=tmp_path,
            capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
    finally:
        subprocess.run([sys.executable, "-m", "app", "kafka", "down", "--delete"], env=env, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "opsloop.telemetry.metrics" in done.stdout or "system.cpu" in done.stdout, done.stdout[-2000:]
