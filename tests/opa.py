"""A real OPA server for tests, where there is one."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


def binary() -> str:
    """The `opa` of this machine; skips the test when there is none."""
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "opsloop" / "bin" / "opa"
    found = shutil.which("opa") or (str(cached) if cached.exists() else "")
    if not found:
        pytest.skip("there is no opa on this machine. Build one: make real-parts")
    return found


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The URL of a running OPA server on a free port of loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [binary(), "run", "--server", "--addr", f"127.0.0.1:{port}", "--log-level", "error"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 15
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < end, "opa did not start"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
