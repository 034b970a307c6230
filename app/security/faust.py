"""Translates librdkafka's security settings for the loop's client, so that both drivers share one configuration."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final

from app.errors import UserError

MECHANISMS: Final = frozenset({"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"})
KNOWN: Final = frozenset({
    "security.protocol", "sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password", "ssl.ca.location",
    "ssl.certificate.location", "ssl.key.location", "ssl.key.password", "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification",
})  # fmt: skip


def credentials(security: Mapping[str, str]) -> Any:
    """Faust's broker credentials for librdkafka's security settings; None when there are none.

    Raises:
        UserError: only librdkafka supports a setting, or settings contradict each other.
    """
    from faust.auth import SASLCredentials, SSLCredentials

    protocol = security.get("security.protocol", "plaintext").upper()
    unknown = sorted(name for name in security if name.startswith(("sasl.", "ssl.")) and name not in KNOWN)
    if unknown:
        raise UserError(f"the loop's client does not know {', '.join(unknown)}", "Use PLAIN or SCRAM, and PEM files")
    if protocol == "PLAINTEXT":
        return None
    context = _context(security) if protocol in ("SSL", "SASL_SSL") else None
    if protocol == "SSL":
        return SSLCredentials(context)
    mechanism = security.get("sasl.mechanism", security.get("sasl.mechanisms", "PLAIN")).upper()
    if protocol not in ("SASL_SSL", "SASL_PLAINTEXT") or mechanism not in MECHANISMS:
        raise UserError(
            f"the loop's client cannot speak {protocol} with {mechanism}", f"Use one of {sorted(MECHANISMS)}"
        )
    return SASLCredentials(
        username=security.get("sasl.username"), password=security.get("sasl.password"), ssl_context=context,
        mechanism=mechanism,
    )  # fmt: skip


def _context(security: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=security.get("ssl.ca.location"))
        if "ssl.certificate.location" in security:
            context.load_cert_chain(
                security["ssl.certificate.location"], security.get("ssl.key.location"),
                security.get("ssl.key.password"),
            )  # fmt: skip
    except OSError as error:
        raise UserError(f"the TLS files of the broker's settings cannot be used ({error})",
                        "Look at OPSLOOP_KAFKA_SSL_…") from None  # fmt: skip
    context.check_hostname = security.get("ssl.endpoint.identification.algorithm", "https") != "none"
    if security.get("enable.ssl.certificate.verification", "true").lower() == "false":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
