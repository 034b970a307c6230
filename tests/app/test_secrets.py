"""Secrets by reference, and settings of the broker for both clients."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faust.auth import SASLCredentials, SSLCredentials

from app.errors import UserError
from app.kafka.broker import Broker
from app.secrets import resolve
from app.security.faust import credentials


@pytest.mark.parametrize(("value", "secret"), [("plain", "plain"), ("env:PASS", "hunter2"), ("", ""), ("a:b", "a:b")])
def test_a_secret_is_taken_from_where_it_is(value: str, secret: str) -> None:
    assert resolve(value, {"PASS": "hunter2"}) == secret


def test_a_secret_in_a_file_comes_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    assert resolve(f"file:{tmp_path / 'secret'}") == "hunter2"
    given = {"OPSLOOP_KAFKA_SASL_PASSWORD": f"file:{tmp_path / 'secret'}"}
    assert Broker.from_environment("", given).security == {"sasl.password": "hunter2"}


@pytest.mark.parametrize("value", ["env:NOTHING", "file:/nowhere/at/all", "vault:secret/kafka#password", "vault:x"])
def test_what_is_not_there_is_told_by_its_reference(value: str) -> None:
    with pytest.raises(UserError, match=value.partition("#")[0].replace("/", ".")):
        resolve(value, {})


class Vault(http.server.BaseHTTPRequestHandler):
    """As much of a server with the KV version 2 as one reading needs."""

    def do_GET(self) -> None:
        good = self.headers["X-Vault-Token"] == "t" and self.path == "/v1/secret/data/kafka"
        self.send_response(200 if good else 403)
        self.end_headers()
        body: dict[str, Any] = {"data": {"data": {"password": "hunter2"}}} if good else {"errors": ["denied"]}
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def vault() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Vault)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_vault_is_asked_with_its_token(vault: str) -> None:
    pytest.importorskip("hvac", reason="the extra vault is not installed")
    given = {"VAULT_ADDR": vault, "VAULT_TOKEN": "t"}
    assert resolve("vault:secret/kafka#password", given) == "hunter2"
    with pytest.raises(UserError, match="no field other"):
        resolve("vault:secret/kafka#other", given)
    with pytest.raises(UserError, match="was not given"):
        resolve("vault:secret/kafka#password", given | {"VAULT_TOKEN": "wrong"})


def test_the_loop_speaks_as_the_lane_does() -> None:
    assert credentials({}) is None
    plain = credentials({"security.protocol": "sasl_plaintext", "sasl.username": "a", "sasl.password": "b"})
    assert isinstance(plain, SASLCredentials)
    assert (plain.protocol.value, plain.mechanism.value, plain.username, plain.password) == (
        "SASL_PLAINTEXT", "PLAIN", "a", "b",
    )  # fmt: skip
    scram = credentials({"security.protocol": "SASL_SSL", "sasl.mechanisms": "SCRAM-SHA-512"})
    assert (scram.protocol.value, scram.mechanism.value) == ("SASL_SSL", "SCRAM-SHA-512")
    assert scram.ssl_context.check_hostname
    tls = credentials({"security.protocol": "SSL", "ssl.endpoint.identification.algorithm": "none"})
    assert isinstance(tls, SSLCredentials)
    assert (tls.context.check_hostname, tls.context.verify_mode) == (False, ssl.CERT_REQUIRED)
    open_ = credentials({"security.protocol": "SSL", "enable.ssl.certificate.verification": "false"})
    assert open_.context.verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize(
    "security",
    [
        {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "GSSAPI"},
        {"security.protocol": "SASL_SSL", "sasl.kerberos.service.name": "kafka"},
        {"security.protocol": "TELNET"},
        {"security.protocol": "SSL", "ssl.ca.location": "/nowhere"},
    ],
)
def test_what_the_loop_cannot_speak_is_an_error_at_its_start(security: dict[str, str]) -> None:
    with pytest.raises(UserError):
        credentials(security)
