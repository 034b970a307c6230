"""What supervisord runs: started, stopped, added and removed over its XML-RPC socket."""

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
    """No supervisor answers at the socket, so what it did is not known."""


class Refused(Exception):
    """The supervisor answered, and would not or could not."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Through the folder's descriptor, because a socket's path may only have 107 bytes."""
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
        """One connection for all requests; `close` ends what stands in `_connection`."""
        connection = self._connection[1] or _Connection(self._path, self._timeout_s)
        self._connection = host, connection
        return connection


class Programs:
    """The programs of one supervisord.

    Every call raises Unreachable when nobody answers in time, and Refused when the answer is no.
    """

    def __init__(self, socket_path: Path, timeout_s: float = TIMEOUT_S) -> None:
        self._path, self._timeout_s = socket_path, timeout_s

    def pid(self, program: str) -> int:
        """The process of a program; 0 when it does not run or is not known."""
        with self._asking() as ask:
            ask.getState()  # the supervisor takes note of ended processes once an answer
            try:
                return int(ask.getProcessInfo(program)["pid"])
            except xmlrpc.client.Fault as fault:
                if fault.faultCode == _BAD_NAME:
                    return 0
                raise

    def start(self, program: str) -> None:
        """Start a program that does not run; one that is new in the configuration is taken up first."""
        with self._asking() as ask:
            try:
                ask.startProcess(program, True)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != _BAD_NAME:
                    raise
                self.add(program)

    def stop(self, program: str, *, at_once: bool = False) -> None:
        """SIGTERM, SIGKILL a second later or `at_once`; return when it has ended. Fine when it had before."""
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
        """Stop a program and forget it. Fine when it was not known."""
        self.stop(program)
        with self._asking() as ask:
            try:
                ask.removeProcessGroup(program)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != _BAD_NAME:
                    raise

    def supervisor(self) -> int:
        """The process of the supervisor."""
        with self._asking() as ask:
            return int(ask.getPID())

    @contextmanager
    def _asking(self) -> Iterator[Any]:
        transport = _Transport(self._path, self._timeout_s)
        try:
            with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as server:
                yield server.supervisor
        except xmlrpc.client.Fault as fault:
            raise Refused(f"the supervisor refused: {fault.faultString}") from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise Unreachable(f"the supervisor does not answer ({error})") from error
