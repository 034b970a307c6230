"""Real processes for flows and drills: started by their command line, ended whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from app.kafka.broker import Broker
from app.runtime.parent import FOLLOW


class Opsloop:
    """One running `opsloop …`: its output is read as it comes, so that nothing blocks."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env={**os.environ, FOLLOW: str(os.getpid()), **(env or {})},
        )  # fmt: skip
        self.out: list[str] = []
        self.err: list[str] = []
        for stream, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err)):
            threading.Thread(target=self._read, args=(stream, lines), daemon=True).start()

    @staticmethod
    def _read(stream: Any, lines: list[str]) -> None:
        with contextlib.suppress(ValueError):
            lines.extend(iter(stream.readline, ""))

    def wait_for(self, text: str, limit_s: float = 60) -> None:
        """Return when the process has said `text` on stderr."""
        until(lambda: any(text in line for line in self.err) or self.process.poll() is not None, limit_s, self.told)
        assert any(text in line for line in self.err), self.told()

    def finish(self, limit_s: float = 60) -> int:
        code = self.process.wait(limit_s)
        time.sleep(0.1)
        return code

    def report(self) -> dict[str, Any]:
        """The JSON object on the last line of stdout."""
        value: dict[str, Any] = json.loads(self.out[-1])
        return value

    def told(self) -> str:
        return "".join(self.err[-40:] + self.out[-5:])

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


@contextlib.contextmanager
def opsloop(*arguments: str, env: dict[str, str] | None = None) -> Iterator[Opsloop]:
    running = Opsloop(*arguments, env=env)
    try:
        yield running
    finally:
        running.stop()


@contextlib.contextmanager
def worker(role: str, broker: Broker, *arguments: str, env: dict[str, str] | None = None) -> Iterator[Opsloop]:
    """A worker that is ready."""
    with opsloop("worker", role, "--broker", broker.bootstrap, *arguments, env=env) as running:
        running.wait_for("is ready", 180)  # kernels are compiled at the first start
        yield running


def run(*arguments: str, env: dict[str, str] | None = None, limit_s: float = 120) -> Opsloop:
    """Run a command to its end."""
    with opsloop(*arguments, env=env) as running:
        running.finish(limit_s)
        return running


def until(condition: Callable[[], Any], limit_s: float = 30, why: Callable[[], str] = lambda: "") -> Any:
    """The first true value of `condition`; fails after `limit_s`."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {limit_s} s. {why()}")
