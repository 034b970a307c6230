"""Starts the demo site, attaches to a running one, and reports the effects of actions on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import app
from app import settings
from app.actuators.programs import Programs, Unreachable
from app.demo import files, people, plan, replicas
from app.demo.layout import BOOT, Layout, Line, Tally, Target
from app.errors import UserError

START_LIMIT_S: Final = 15.0

_SUPERVISOR: Final = """[supervisord]
logfile=supervisord.log
logfile_maxbytes=1MB
logfile_backups=0
pidfile=supervisord.pid
childlogdir=.
silent=true
[unix_http_server]
file=/proc/self/cwd/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[include]
files = programs/*.conf
"""


@dataclass(frozen=True, slots=True)
class ObservedEffect:
    """The effect of one cause on the site, by the site's journal."""

    cause: str  # id of a command, or `unknown`
    service: str
    events: tuple[str, ...]  # start, stop, config
    instances: tuple[int, ...]
    times: int  # the most often that one event happened to one instance: more than 1 when something ran twice
    ts: int  # time of the first event


class Site:
    """A running site: its folder, and its process when it was started here."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes] | None = None) -> None:
        self.layout = Layout(folder)
        self.programs = Programs(self.layout.socket)
        self._process = process

    @classmethod
    def start(cls, folder: Path, *, seed: int = 1, progress: Callable[[str], None] = lambda _: None) -> Site:
        """Start all processes in a new folder. Returns when every replica answers.

        The site ends when this process ends, in whatever way.

        Raises:
            UserError: supervisor is not installed, the folder holds a site already, or a replica does not start.
        """
        if find_spec("supervisor") is None:
            raise UserError("the demo site needs supervisor", "Install it: pip install 'opsloop[demo]'.")
        folder = folder.resolve()
        if (folder / "targets.json").exists():
            raise UserError(f"{folder} already holds a site", "Name another folder, or delete this one.")
        folder.mkdir(parents=True, exist_ok=True)
        progress("laying out the site")
        targets = _lay_out(Layout(folder), seed)
        site = cls(folder, _supervise(folder))
        try:
            progress(f"starting {len(targets)} services")
            site._await_supervisor()
            missing = replicas.await_health(targets, START_LIMIT_S)
            if missing:
                names = ", ".join(target.program for target in missing)
                raise UserError(f"{names} did not start", f"The reason is in the .log files in {folder}.")
            site.programs.start(plan.LOAD)
        except BaseException:
            site.stop()
            raise
        files.replace(_current(), str(folder).encode())
        progress("every service answers, and visitors come")
        return site

    def _await_supervisor(self) -> None:
        """Ask until it answers. A request also wakes it, which otherwise sleeps for a second before its first start."""
        while not self.running():
            if self._process is not None and self._process.poll() is not None:
                raise UserError("the supervisor did not start", f"The reason is in {self.layout.folder}/guard.log.")
            time.sleep(0.02)

    @classmethod
    def attach(cls, folder: Path | None = None) -> Site:
        """The site that runs in `folder`, or the last one that was started. Raises UserError when none runs."""
        if folder is None:
            folder = next((Path(file.read_text()) for file in (_current(), _started()) if file.exists()), None)
        site = cls(folder) if folder else None
        if site is None or not site.running():
            raise UserError("no demo site is running", "Start one with `opsloop demo`.")
        return site

    def running(self) -> bool:
        """Whether the supervisor of the site runs."""
        try:
            self.programs.supervisor()
        except Unreachable:
            return False
        return True

    def stop(self) -> None:
        """End all processes of the site. The kernel ends those of a supervisor that has ended."""
        with suppress(Unreachable, ProcessLookupError):
            os.kill(self._process.pid if self._process else self.programs.supervisor(), signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        with suppress(FileNotFoundError):
            if Path(_current().read_text()) == self.layout.folder:
                _current().unlink()

    def endpoints(self) -> dict[str, str]:
        """The URL of each replica's metrics, by entity. It changes with the replicas."""
        return {target.entity: target.url for target in self.layout.targets()}

    def topology(self) -> tuple[tuple[str, str], ...]:
        """(caller, called) services."""
        return topology()

    def tally(self) -> Tally:
        """Numbers of the visitors' requests so far."""
        return files.read(self.layout.tally, Tally) if self.layout.tally.exists() else Tally()

    def effects(self) -> list[ObservedEffect]:
        """Effects of other causes than the site and its faults, in order; one for each cause and service."""
        return effects(self.layout)


def topology() -> tuple[tuple[str, str], ...]:
    """(caller, called) services of any site."""
    return tuple((plan.name(caller), plan.name(called)) for caller, all_of in plan.CALLS.items() for called in all_of)


def effects(layout: Layout) -> list[ObservedEffect]:
    """The effects in the journal that were caused by a command, or by an unknown cause."""
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in layout.read_journal():
        if line.cause != BOOT and not line.cause.startswith("fault:"):
            groups.setdefault((line.cause, line.service), []).append(line)
    return [_effect(lines) for lines in groups.values()]


def _effect(lines: list[Line]) -> ObservedEffect:
    seen = [(line.event, line.instance) for line in lines]
    return ObservedEffect(
        cause=lines[0].cause, service=lines[0].service, events=tuple(dict.fromkeys(line.event for line in lines)),
        instances=tuple(sorted({line.instance for line in lines})), times=max(map(seen.count, seen)), ts=lines[0].ts,
    )  # fmt: skip


def _lay_out(layout: Layout, seed: int) -> list[Target]:
    for service, config in plan.CONFIGS.items():
        layout.roll_out(service, config, BOOT, "first configuration")
    layout.roll_out(plan.LOAD, plan.TRAFFIC, BOOT, "traffic at rest")
    taken: set[int] = set()
    targets = [replicas.describe_replica(layout, service, 0, taken) for service in plan.CALLS]
    replicas.describe(layout, plan.LOAD, "app.demo.load", seed, autostart=False)
    layout.list_targets(targets)
    for target in targets:
        layout.hand_cause(target.program, BOOT)
    layout.say(plan.SYSTEM, "topology", "who calls whom", calls=topology())
    for service in plan.CALLS:
        layout.say(plan.name(service), "deploy", f"{service} starts with configuration 1", revision="1")
    return targets


def _supervise(folder: Path) -> subprocess.Popen[bytes]:
    """Start supervisord in a session of its own, so that ctrl-C in the terminal does not reach it."""
    (folder / "supervisord.conf").write_text(_SUPERVISOR)
    source = str(Path(app.__file__).parents[1])
    path = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
    with (folder / "guard.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "app.demo.guard", str(os.getpid()), "supervisord.conf"],
            cwd=folder, env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip


def _current() -> Path:
    return settings.home() / "site"


def _started() -> Path:
    """The same file in the demo's home within this user's home."""
    return people.demo_home(settings.home()) / "site"
