"""The actuator of the demo site: it controls the processes under supervisord and their configuration."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from agents.act import Done
from app.actuators.programs import Programs, SupervisorFault, Unreachable
from app.clock import now_ms
from app.demo import plan, replicas
from app.demo.layout import Layout, Line, Target
from topics.actions import Command

ANSWER_S: Final = 5.0  # seconds from a process's start to its first answer
SETTLE_S: Final = 1.5  # seconds until a request that an actuator sent just before it died has taken effect


class _Failed(Exception):
    """The command had no effect, for certain."""


@dataclass(frozen=True, slots=True)
class _Verb:
    """How one action is checked, run and probed."""

    targets: frozenset[str]
    possible: Callable[[str], str | None]  # service → why the action is not possible; None: it is
    run: Callable[[Command], str]
    probe: Callable[[Command], tuple[bool, str]]


class SiteActuator:
    """Carries out the four actions on the site in `folder`. See `agents.act.Actuator`."""

    name = "supervisor"

    def __init__(self, folder: Path, *, settle_s: float = SETTLE_S) -> None:
        self.layout = Layout(folder)
        self.programs = Programs(self.layout.socket)
        self._settle_s = settle_s
        service, both = frozenset({"service"}), frozenset({"service", "instance"})
        self._verbs = {
            "restart_service": _Verb(both, lambda _: None, self._restart, self._check_restart),
            "scale_out": _Verb(service, self._below_ceiling, self._scale_out, self._check_scale_out),
            "scale_in": _Verb(service, self._above_floor, self._scale_in, self._check_scale_in),
            "rollback_config": _Verb(service, self._has_parent, self._roll_back, self._check_roll_back),
        }

    def can(self, action: str, target: str) -> str | None:
        """Why the command cannot be carried out; None: it can."""
        verb = self._verbs.get(action)
        if verb is None:
            return f"the supervisor cannot {action}"
        try:
            service, instance = plan.parts(target)
            if ("service" if instance is None else "instance") not in verb.targets:
                return f"{action} is for a {' or a '.join(sorted(verb.targets))}, not for {target}"
            self._targets(target)
            return verb.possible(service)
        except FileNotFoundError:
            return f"no site is in {self.layout.folder}"
        except (ValueError, _Failed) as error:
            return str(error)

    def run(self, command: Command) -> Done:
        """Carry out the command once. Returns its result."""
        try:
            return Done("succeeded", self._verbs[command.action].run(command), now_ms())
        except (_Failed, SupervisorFault) as error:
            return Done("failed", str(error), now_ms())
        except (Unreachable, OSError) as error:
            found = self.probe(command)
            return Done(found.outcome, f"{error}; {found.detail}", found.ended)

    def probe(self, command: Command) -> Done:
        """Search the journal and ask the supervisor for `settle_s` seconds, while requests may still take effect."""
        verb = self._verbs.get(command.action)
        if verb is None:
            return Done("failed", f"the supervisor cannot {command.action}, and did not", now_ms())
        deadline = time.monotonic() + self._settle_s
        while True:
            try:
                done, detail = verb.probe(command)
            except _Failed as error:
                done, detail = False, str(error)
            except (Unreachable, SupervisorFault, OSError, ValueError) as error:
                done, detail = False, f"not known: {error}"
            if done or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        if done:
            return Done("succeeded", f"found done: {detail}", now_ms())
        return Done("unknown" if detail.startswith("not known") else "failed", f"found not done: {detail}", now_ms())

    # restart_service

    def _restart(self, command: Command) -> str:
        targets = self._targets(command.target)
        for target in targets:
            self.layout.hand_cause(target.program, command.id)
            self.programs.stop(target.program, at_once=not replicas.healthy(target))
            self.programs.start(target.program)
            self._await(target, command.id)
            self.layout.say(target.entity, "state_change", f"{target.program} was restarted by {command.id}")
        return f"{', '.join(target.program for target in targets)} restarted and answering"

    def _check_restart(self, command: Command) -> tuple[bool, str]:
        targets = self._targets(command.target)
        missing = [
            t for t in targets if not self._in_journal(command.id, "start", t) and not self._is_starting(command.id, t)
        ]
        stopped = [target.program for target in missing if not self.programs.pid(target.program)]
        if stopped:
            return False, f"{', '.join(stopped)} does not run"
        return not missing, f"{len(targets) - len(missing)} of {len(targets)} restarted"

    # scale_out, scale_in

    def _below_ceiling(self, service: str) -> str | None:
        count = len(self.layout.replicas(service))
        return f"{service} already has {count} replicas, the most" if count >= plan.CEILING else None

    def _above_floor(self, service: str) -> str | None:
        count = len(self.layout.replicas(service))
        return f"{service} has {count} replica, the least" if count <= plan.FLOOR else None

    def _scale_out(self, command: Command) -> str:
        service, steps = self._scaling(command)
        added = [replicas.grow(self.layout, self.programs, service, command.id) for _ in range(steps)]
        for target in added:
            self._await(target, command.id)
        return f"{', '.join(target.program for target in added)} started and answering"

    def _scale_in(self, command: Command) -> str:
        service, steps = self._scaling(command)
        gone = [replicas.shrink(self.layout, self.programs, service, command.id) for _ in range(steps)]
        return f"{', '.join(target.program for target in gone)} stopped"

    def _scaling(self, command: Command) -> tuple[str, int]:
        service, _ = plan.parts(command.target)
        steps = int(command.parameters.get("replicas", "1"))
        count = len(self.layout.replicas(service))
        wanted = count + (steps if command.action == "scale_out" else -steps)
        if not plan.FLOOR <= wanted <= plan.CEILING:
            raise _Failed(f"{service} has {count} replicas, and may have {plan.FLOOR} to {plan.CEILING}")
        return service, steps

    def _check_scale_out(self, command: Command) -> tuple[bool, str]:
        return self._check_scaling(command, "start")

    def _check_scale_in(self, command: Command) -> tuple[bool, str]:
        return self._check_scaling(command, "stop")

    def _check_scaling(self, command: Command, event: str) -> tuple[bool, str]:
        steps = int(command.parameters.get("replicas", "1"))
        instances = {line.instance for line in self._lines(command.id) if line.event == event}
        if event == "start":
            service, _ = plan.parts(command.target)
            instances |= {t.instance for t in self.layout.replicas(service) if self._is_starting(command.id, t)}
        done = len(instances)
        return done >= steps, f"{done} of {steps} replicas"

    # rollback_config

    def _has_parent(self, service: str) -> str | None:
        return None if self.layout.parent(service) else f"{service} has no earlier configuration"

    def _roll_back(self, command: Command) -> str:
        service, _ = plan.parts(command.target)
        revision = int(command.parameters.get("revision") or self.layout.parent(service))
        if revision not in self.layout.revisions(service):
            raise _Failed(f"{service} has no configuration {revision}")
        self.layout.point(service, revision, command.id, f"{service} was rolled back by {command.id}")
        return f"{service} has configuration {revision}"

    def _check_roll_back(self, command: Command) -> tuple[bool, str]:
        service, _ = plan.parts(command.target)
        done = command.id in self.layout.pointer(service).causes
        return done, "the pointer was moved" if done else "the pointer was not moved"

    # helpers

    def _targets(self, target: str) -> list[Target]:
        service, instance = plan.parts(target)
        found = [t for t in self.layout.replicas(service) if instance is None or t.instance == instance]
        if not found:
            raise _Failed(f"there is no replica {target}")
        return found

    def _await(self, target: Target, cause: str) -> None:
        if replicas.await_health([target], ANSWER_S) or not self._in_journal(cause, "start", target):
            raise _Failed(f"{target.program} did not answer within {ANSWER_S:.0f} s of its start")

    def _is_starting(self, cause: str, target: Target) -> bool:
        """Whether the process started after the cause was handed over, and has not yet taken it."""
        handed, pid = self.layout.handed(target.program, cause), self.programs.pid(target.program)
        if handed is None or not pid:
            return False
        with suppress(psutil.NoSuchProcess):
            return bool(psutil.Process(pid).create_time() >= handed)
        return False

    def _lines(self, cause: str) -> list[Line]:
        return [line for line in self.layout.read_journal() if line.cause == cause]

    def _in_journal(self, cause: str, event: str, target: Target) -> bool:
        place = (event, target.service, target.instance)
        return any((line.event, line.service, line.instance) == place for line in self._lines(cause))
