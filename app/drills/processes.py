"""Workers as real processes that can be killed, paused and stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from app.errors import UserError
from app.kafka.broker import Broker
from app.runtime.parent import FOLLOW
from topics.spec import use_domains

READY_S = 180.0  # seconds; generous for a busy machine

EACH_ITS_OWN = {"*": "{0}"}  # correlation domains: one for each system


def spread_systems() -> None:
    """Give each system a domain of its own, here and in processes that are started: all partitions have work."""
    os.environ["OPSLOOP_INCIDENTS__DOMAINS"] = json.dumps(EACH_ITS_OWN)
    use_domains(EACH_ITS_OWN)


class WorkerProcess:
    """One process of `opsloop worker ROLE`. Its output goes to a file."""

    def __init__(self, role: str, broker: Broker, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.role = role
        self.log = folder / f"{role}-{time.monotonic_ns()}.log"
        arguments = [sys.executable, "-m", "app", "worker", role, "--broker", broker.bootstrap]
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with self.log.open("wb") as log:
            ours = {
                FOLLOW: str(os.getpid()), "OPSLOOP_HOME": str(folder / "home"),
                "PYTHONPYCACHEPREFIX": str(folder / "compiled"),  # compiled once for all, as when installed
            }  # fmt: skip
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**inherited, **ours, **(environment or {})},
            )  # fmt: skip

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def await_ready(self) -> None:
        """Wait until it is ready. Raises UserError when it ends, or is not ready within three minutes."""
        end = time.monotonic() + READY_S
        while b"is ready" not in self.log.read_bytes():
            if not self.alive or time.monotonic() > end:
                words = self.log.read_text(errors="replace").strip().splitlines()[-1:]
                raise UserError(f"a worker of the drill did not start: {words}", f"Its log is {self.log}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Send SIGKILL and wait for its end."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Send SIGSTOP: the process stands still."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> float:
        """Send SIGTERM, and SIGKILL after half a minute. Returns the seconds until it ended."""
        began = time.monotonic()
        if self.alive:
            self.resume()
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
        return time.monotonic() - began


def start_workers(
    role: str, broker: Broker, folder: Path, environment: Mapping[str, str] | None = None, count: int = 1
) -> list[WorkerProcess]:
    """Start `count` workers and wait until they are ready. Raises UserError when one fails; then none is left."""
    made = [WorkerProcess(role, broker, folder, environment) for _ in range(count)]
    try:
        for worker in made:
            worker.await_ready()
    except BaseException:
        for worker in made:
            worker.kill()
        raise
    return made
