"""SASL and TLS to the broker, said once: the lane's client and the loop's client both get in, and strangers do not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.client import Publisher
from app.clock import now_ms
from app.kafka.admin import ensure
from app.kafka.broker import Broker, probe, read_all
from app.kafka.local import LocalKafka, Node
from app.security.keys import WORKER, keys_of
from app.settings import home
from models.safety.signing import sign_proposal
from tests.builders import proposal
from tests.processes import run, until, worker
from topics.codec import decode
from topics.decisions import DECISIONS

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
PASSWORD = "quite-secret"  # of a broker that lives for one test


class SecuredKafka(LocalKafka):
    """A node whose only listener for clients is SASL_SSL."""

    @property
    def broker(self) -> Broker:
        return Broker.from_environment(self.bootstrap, self.environment())

    def environment(self) -> dict[str, str]:
        return {
            "OPSLOOP_KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "OPSLOOP_KAFKA_SASL_MECHANISM": "PLAIN",
            "OPSLOOP_KAFKA_SASL_USERNAME": "opsloop",
            "OPSLOOP_KAFKA_SASL_PASSWORD": f"file:{self.folder / 'password'}",
            "OPSLOOP_KAFKA_SSL_CA_LOCATION": str(self.folder / "ca.pem"),
        }  # fmt: skip

    def _properties(self, node: Node) -> Path:
        path = super()._properties(node)
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        users = f'username="opsloop" password="{PASSWORD}" user_opsloop="{PASSWORD}";'
        text = path.read_text().replace("PLAINTEXT://", "SASL_SSL://")
        lines = [line for line in text.splitlines() if "protocol.map" not in line and "inter.broker" not in line]
        path.write_text("\n".join([
            *lines, "listener.security.protocol.map=SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name=SASL_SSL", "sasl.enabled.mechanisms=PLAIN",
            "sasl.mechanism.inter.broker.protocol=PLAIN", "ssl.keystore.type=PEM",
            f"ssl.keystore.location={self.folder / 'server.pem'}", "ssl.truststore.type=PEM",
            f"ssl.truststore.location={self.folder / 'ca.pem'}",
            f"listener.name.sasl_ssl.plain.sasl.jaas.config={login} {users}", "",
        ]))  # fmt: skip
        return path


def certify(folder: Path) -> None:
    """An authority, and a certificate of it for 127.0.0.1."""
    now = datetime.now(UTC)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "server")}
    names = {name: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} of a test")]) for name in keys}
    made = {}
    for name, key in keys.items():
        made[name] = (
            x509.CertificateBuilder().subject_name(names[name]).issuer_name(names["ca"]).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .sign(keys["ca"], hashes.SHA256())
        ).public_bytes(serialization.Encoding.PEM)  # fmt: skip
    private = keys["server"].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "ca.pem").write_bytes(made["ca"])
    (folder / "server.pem").write_bytes(private + made["server"])
    (folder / "password").write_text(PASSWORD + "\n")


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[SecuredKafka]:
    certify(tmp_path)
    with SecuredKafka(tmp_path) as kafka:
        ensure(kafka.broker)
        yield kafka


def test_both_clients_get_in_with_one_set_of_settings_and_strangers_do_not(kafka: SecuredKafka) -> None:
    for changes in (
        {"OPSLOOP_KAFKA_SASL_PASSWORD": "wrong"},
        {"OPSLOOP_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"},
        {"OPSLOOP_KAFKA_SSL_CA_LOCATION": str(kafka.folder / "server.pem")},
    ):
        assert probe(Broker.from_environment(kafka.bootstrap, kafka.environment() | changes), 4.0)
    env = {**os.environ, **kafka.environment()}
    with worker("loop", kafka.broker, env=env), Publisher(kafka.broker) as publisher:
        proposed = sign_proposal(proposal(ts=now_ms(), incident=""), keys_of(home()).own(WORKER))
        publisher.send(proposed)
        publisher.flush()
        answered = until(lambda: [decode(raw).record for raw in read_all(kafka.broker, [DECISIONS.name])], 40)
        assert [msgspec.structs.asdict(d)["proposal"].id for d in answered] == [proposed.id]
    listed = run("decisions", "--json", "--broker", kafka.bootstrap, env=env)
    assert listed.process.returncode == 0, listed.told()
    assert PASSWORD not in listed.told()
