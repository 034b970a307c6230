"""`opsloop serve` as a process: ready, over TLS, stopped, and what it refuses to do."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import urllib.request
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.kafka.embedded import Embedded
from tests.processes import opsloop, run


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now = datetime.datetime.now(datetime.UTC)
    later = now + datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, later)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, private = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ))  # fmt: skip
    return cert, private


def test_it_serves_over_tls_to_who_has_a_token(embedded: Embedded, certificate: tuple[Path, Path]) -> None:
    assert run("user", "add", "ana", "--role", "approver").process.returncode == 0
    token = run("user", "token", "ana").out[-1].strip()
    cert, key = map(str, certificate)
    where = ("--broker", embedded.bootstrap, "--port", "0", "--cert", cert, "--key", key)
    with opsloop("serve", *where) as serving:
        serving.wait_for("serving on https://")
        address = next(line for line in serving.err if "serving on" in line).split()[-1]
        request = urllib.request.Request(f"{address}/me", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10, context=ssl.create_default_context(cafile=cert)) as answer:
            assert json.load(answer)["roles"] == ["approver"]
            assert "max-age" in answer.headers["strict-transport-security"]
        serving.process.terminate()
        assert serving.finish(15) in (0, -15), serving.told()
        assert "Traceback" not in serving.told()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--host", "0.0.0.0"), "no loopback address"),
        (("--cert", "a.pem"), "Give both --cert and --key"),
        (("--cert", "/nowhere.pem", "--key", "/nowhere.pem"), "the certificate cannot be used"),
        (("--host", "192.0.2.1", "--cert", "a", "--key", "b"), "cannot listen on 192.0.2.1"),
    ],
)
def test_what_it_cannot_do_safely_it_does_not(embedded: Embedded, arguments: tuple[str, ...], words: str) -> None:
    done = run("serve", "--port", "0", "--broker", embedded.bootstrap, *arguments)
    assert done.process.returncode == 2
    assert words in done.told()
    assert "Traceback" not in done.told()
