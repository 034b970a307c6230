"""Evaluates Rego at an OPA server through its REST API, https://www.openpolicyagent.org/docs/rest-api.

The policies come from the topic of policies and are sent to the server when they are needed. Each version is a module
with a package of its own, so that an old version answers while a new one is tried.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import time
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from app.errors import UserError
from models.policy.base import Compiled, PolicyFault

LIMIT_S: Final = 0.25  # seconds; a later answer counts as none
REST_S: Final = 1.0  # seconds without requests after a failure: a hundred policies must not each wait


class Opa:
    """See `models.policy.base.Evaluator`. Not to be shared between threads."""

    def __init__(self, url: str, token: str = "", limit_s: float = LIMIT_S) -> None:
        """url: `http://host:8181`, or https. Raises UserError when it is no URL. limit_s: seconds for one answer."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"{url!r} is no address of an OPA server", "Write http://127.0.0.1:8181")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=limit_s)
        self._base = parts.path.rstrip("/")
        self._rests_until = 0.0
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def compile(self, source: str, package: str) -> Compiled:
        """The path under which the server evaluates a text. Raises PolicyFault."""
        version = hashlib.blake2b(source.encode(), digest_size=8).hexdigest()
        here = f"{package}_{version}"
        text = re.sub(rf"(?m)^package[ \t]+{re.escape(package)}\b", f"package {here}", source, count=1)
        status, said = self._ask("PUT", f"/v1/policies/{here}", text.encode(), "text/plain")
        if status != 200:
            raise PolicyFault("invalid" if status == 400 else "error", _message(said))
        return _Module(self, here.replace(".", "/"))

    def evaluate(self, path: str, facts: dict[str, Any]) -> Any:
        """The document at `path` for the input `facts`. Raises PolicyFault: error, timeout, undefined, missing."""
        body = msgspec.json.encode({"input": facts})
        status, said = self._ask("POST", f"/v1/data/{path}?strict-builtin-errors", body, "application/json")
        if status != 200:
            raise PolicyFault("error", _message(said))
        if not isinstance(said, dict) or "result" not in said:
            raise PolicyFault("missing", "the server has no such policy")
        return said["result"]

    def _ask(self, method: str, path: str, body: bytes, kind: str) -> tuple[int, Any]:
        if time.monotonic() < self._rests_until:
            raise PolicyFault("timeout", "the OPA server did not answer a moment ago")
        headers = {"Content-Type": kind, **self._headers}
        try:
            try:
                return self._once(method, path, body, headers)
            except ConnectionError:  # the server closes connections that were idle for long
                self._connection.close()
                return self._once(method, path, body, headers)
        except TimeoutError:
            self._connection.close()
            self._rests_until = time.monotonic() + REST_S
            raise PolicyFault("timeout", "the OPA server did not answer in time") from None
        except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
            self._connection.close()
            raise PolicyFault("error", f"the OPA server: {error or type(error).__name__}") from None

    def _once(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        self._connection.request(method, self._base + path, body, headers)
        answer = self._connection.getresponse()
        return answer.status, msgspec.json.decode(answer.read() or b"null")

    def close(self) -> None:
        """Close the connection to the server."""
        self._connection.close()


class _Module:
    def __init__(self, server: Opa, path: str) -> None:
        self._server, self._path = server, path

    def evaluate(self, facts: dict[str, Any]) -> Any:
        return self._server.evaluate(self._path, facts)


def _message(said: Any) -> str:
    if not isinstance(said, dict):
        return "the OPA server gave no reason"
    errors = said.get("errors") or [{}]
    return f"{said.get('message', '')}: {errors[0].get('message', '')}"[:300]
