"""The HTTP interface on a port of this process, and a client of it."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import argon2
import uvicorn

from app.api.read_model import ReadModel
from app.api.server import make_app
from app.api.settings import ApiSettings
from app.kafka.broker import Broker
from app.security.keys import Keys
from app.security.settings import SecuritySettings
from app.security.tokens import Tokens
from models.safety.roles import Role
from tests.processes import until

CHEAP = functools.partial(argon2.PasswordHasher, time_cost=1, memory_cost=64)  # test_tokens has the real one
FREE = ApiSettings(per_s=10_000, burst=10_000, logins_per_min=10_000)


class Answer:
    """What came back."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers = response.status, {k.lower(): v for k, v in response.getheaders()}
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Asks as anybody in the folder of keys."""

    def __init__(self, port: int, home: Path, read_model: ReadModel) -> None:
        self.port, self.keys, self.read_model = port, Keys(home), read_model
        self.tokens = Tokens(self.keys, SecuritySettings())
        self._given: dict[str, str] = {}

    def enrol(self, name: str, *roles: Role) -> None:
        self.keys.add(name, roles)

    def token(self, name: str) -> str:
        if name not in self._given:
            self._given[name] = self.tokens.issue(name)
        return self._given[name]

    def ask(self, method: str, path: str, by: str = "", body: Any = None, **headers: str) -> Answer:
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        if by:
            given["authorization"] = f"Bearer {self.token(by)}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, raw, given)
            return Answer(connection.getresponse())
        finally:
            connection.close()


@contextlib.contextmanager
def served(
    broker: Broker, home: Path, settings: ApiSettings = FREE, security: SecuritySettings | None = None
) -> Iterator[Client]:
    """The interface over a broker, once it knows what is on it."""
    read_model = ReadModel(broker, Keys(home))
    app = make_app(read_model, Tokens(Keys(home), security or SecuritySettings()), settings)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", server_header=False, ws="none"))
    with mock.patch("argon2.PasswordHasher", CHEAP), socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        read_model.start()
        thread.start()
        try:
            until(lambda: server.started and read_model.ready.is_set())
            yield Client(listening.getsockname()[1], home, read_model)
        finally:
            server.should_exit = True
            thread.join(10)
            read_model.stop()
