"""Policies for tests: a body with the head that it needs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec

GRANT = "default allow := true"


def rule(body: str = GRANT, name: str = "probe", kind: str = "operational", **head: Any) -> str:
    """A policy file; `head` is its other metadata."""
    keys = {"id": name, "type": kind, "owner": "tests"} | head
    lines = [f"#   {key}: {_text(value)}" for key, value in keys.items()]
    return "\n".join(["# METADATA", "# custom:", *lines, f"package opsloop.{name}", "", "import rego.v1", "", body, ""])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


class Repository:
    """A repository in a folder, written by the real git."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "-q", "-b", "main", str(folder), here=False)

    def git(self, *words: str, here: bool = True) -> str:
        place = ["-C", str(self.folder)] if here else []
        env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        names = ["-c", "user.name=ada", "-c", "user.email=ada@localhost"]
        done = subprocess.run(["git", *place, *names, *words], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, *signing: str, **texts: str | None) -> str:
        """Write these policies (None: away with it) and commit; its id."""
        for name, text in texts.items():
            file = self.folder / f"{name}.rego"
            if text is None:
                file.unlink()
            else:
                file.write_text(text)
        self.git("add", "-A")
        self.git(*signing, "commit", "-q", "-m", "a change", *(["-S"] if signing else []))
        return self.git("rev-parse", "HEAD")
