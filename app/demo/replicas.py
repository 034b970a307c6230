"""Adds and removes replicas: a port, a program of the supervisor, an entry in the list of targets."""

from __future__ import annotations

import http.client
import random
import shlex
import socket
import sys
import time
from typing import Final

from app.actuators.programs import Programs
from app.demo import plan
from app.demo.layout import Layout, Target

PORTS: Final = range(20_000, 30_000)  # below the ephemeral ports, so that no client gets the port of a dead replica
HEALTH_TIMEOUT_S: Final = 0.3
LEAVE_S: Final = 0.3  # seconds; callers read the targets every 0.1 s

_PROGRAM: Final = """[program:{name}]
command={command}
autostart={autostart}
autorestart=false
startsecs=0
stopwaitsecs=1
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={name}.log
stdout_logfile_maxbytes=1MB
stdout_logfile_backups=0
"""


def describe(layout: Layout, name: str, *arguments: object, autostart: bool = True) -> None:
    """Add the program `name` to the supervisor's configuration."""
    command = shlex.join([sys.executable, "-m", *map(str, arguments)]).replace("%", "%%")
    layout.programs.mkdir(exist_ok=True)
    (layout.programs / f"{name}.conf").write_text(_PROGRAM.format(name=name, command=command, autostart=autostart))


def describe_replica(layout: Layout, service: str, instance: int, taken: set[int]) -> Target:
    """Choose a port and add the program of a replica. The port is added to `taken`."""
    port = _free_port(taken)
    taken.add(port)
    describe(layout, plan.program(service, instance), "app.demo.service", service, instance, port)
    return Target(plan.entity(service, instance), f"http://127.0.0.1:{port}/metrics")


def grow(layout: Layout, programs: Programs, service: str, cause: str) -> Target:
    """Start one more replica of a service. The caller checks CEILING.

    It is listed before it starts: when this is interrupted, the replica appears as down and is restarted.
    """
    with layout.changing():
        targets = layout.targets()
        instances = {target.instance for target in targets if target.service == service}
        instance = min(set(range(len(instances) + 1)) - instances)
        programs.remove(plan.program(service, instance))  # left over from an interrupted removal
        target = describe_replica(layout, service, instance, {target.port for target in targets})
        layout.hand_cause(target.program, cause)
        layout.list_targets([*targets, target])
        programs.add(target.program)
    _tell(layout, service, len(instances) + 1, cause)
    return target


def shrink(layout: Layout, programs: Programs, service: str, cause: str) -> Target:
    """Stop the newest replica of a service after callers had time to leave it. The caller checks FLOOR."""
    with layout.changing():
        targets = layout.targets()
        target = max((t for t in targets if t.service == service), key=lambda t: t.instance)
        layout.hand_cause(target.program, cause)
        layout.list_targets(t for t in targets if t != target)
        time.sleep(LEAVE_S)
        programs.remove(target.program)
        layout.take_cause(target.program)
        (layout.programs / f"{target.program}.conf").unlink(missing_ok=True)
    _tell(layout, service, len(layout.replicas(service)), cause)
    return target


def _tell(layout: Layout, service: str, replicas: int, cause: str) -> None:
    layout.say(plan.name(service), "state_change", f"{service} now has {replicas} replicas, by {cause}")


def healthy(target: Target) -> bool:
    """Whether the replica answers with success."""
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=HEALTH_TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        with connection.getresponse() as answer:
            answer.read()
            return answer.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def await_health(targets: list[Target], limit_s: float) -> list[Target]:
    """Wait until all targets answer. Returns those that do not within `limit_s` seconds."""
    deadline = time.monotonic() + limit_s
    missing = list(targets)
    while True:
        missing = [target for target in missing if not healthy(target)]
        if not missing or time.monotonic() > deadline:
            return missing
        time.sleep(0.03)


def _free_port(taken: set[int]) -> int:
    for port in random.sample(PORTS, len(PORTS)):
        if port not in taken:
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return port
    raise OSError("no free port between 20000 and 29999")
