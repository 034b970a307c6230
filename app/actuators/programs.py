"""A client of supervisord: starts, stops, adds and removes programs over its XML-RPC socket."""

from __future__ import annotations

import http.client
import os
import socket
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

TIMEOUT_S: Final = 8.0
_NOT_RUNNING: Final = 70  # supervisor.xmlrpc.Faults
_BAD_NAME: Final = 10


class Unreachable(Exception):
    """Nobody answers at the socket in time: whether the call had an effect is unknown."""


class SupervisorFault(Exception):
    """The supervisor answered with a fault."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect through the folder's descriptor: the path of a Unix socket may have only 107 bytes."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        folder = os.open(self._path.parent, os.O_PATH)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__()
        self._path, self._timeout_s = path, timeout_s
        self._connection: tuple[Any, _Connection | None] = (None, None)

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        """Return the one connection of all requests; the base class closes what is in `_connection`."""
        connection = self._connection[1] or _Connection(self._path, self._timeout_s)
        self._connection = host, connection
        return connection


class Programs:
    """The programs of one supervisord.

    Every call raises Unreachable when nobody answers within `timeout_s`, and SupervisorFault for a fault.
    """

    def __init__(self, socket_path: Path, timeout_s: float = TIMEOUT_S) -> None:
        self._path, self._timeout_s = socket_path, timeout_s

    def pid(self, program: str) -> int:
        """The process id of a program; 0 when it does not run or is unknown."""
        with self._asking() as ask:
            ask.getState()  # the supervisor notices ended processes each time it answers
            try:
                return int(ask.getProcessInfo(program)["pid"])
            except xmlrpc.client.Fault as fault:
                if fault.faultCode == _BAD_NAME:
                    return 0
                raise

    def start(self, program: str) -> None:
        """Start a program that does not run; add it first when it is new in the configuration."""
        with self._asking() as ask:
            try:
                ask.startProcess(program, True)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != _BAD_NAME:
                    raise
                self.add(program)

    def stop(self, program: str, *, at_once: bool = False) -> None:
        """Send SIGTERM, and SIGKILL a second later or `at_once`; return when the program has ended."""
        with self._asking() as ask:
            try:
                if at_once:
                    ask.signalProcess(program, "KILL")
                ask.stopProcess(program, True)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode not in (_NOT_RUNNING, _BAD_NAME):
                    raise

    def add(self, program: str) -> None:
        """Start a program that was written into the configuration."""
        with self._asking() as ask:
            ask.reloadConfig()
            ask.addProcessGroup(program)

    def remove(self, program: str) -> None:
        """Stop a program and remove it from the supervisor. Does nothing when it is unknown."""
        self.stop(program)
        with self._asking() as ask:
            try:
                ask.removeProcessGroup(program)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != _BAD_NAME:
                    raise

    def supervisor(self) -> int:
        """The process id of the supervisor."""
        with self._asking() as ask:
            return int(ask.getPID())

    @contextmanager
    def _asking(self) -> Iterator[Any]:
        transport = _Transport(self._path, self._timeout_s)
        try:
            with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as server:
                yield server.supervisor
        except xmlrpc.client.Fault as fault:
            raise SupervisorFault(f"the supervisor refused: {fault.faultString}") from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise Unreachable(f"the supervisor does not answer ({error})") from error
