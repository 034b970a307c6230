"""What no record of ours keeps: secrets and addresses of people, in the words that somebody wrote.

Only free text is masked, and before it is kept: names of targets and parameters are bound by signatures and by the
action catalogue, which has a pattern for each.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

FREE_TEXT: Final = frozenset({"reason", "reasons", "detail", "text", "note", "alternatives"})

RULES: Final[tuple[tuple[str, re.Pattern[str]], ...]] = (
    ("private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.S)),
    ("token", re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*")),
    ("token", re.compile(r"(?i)\b(?:bearer|basic)\s+[\w.~+/=-]{8,}")),
    ("secret", re.compile(r"(?i)\b(?:password|passwd|pwd|secret|token|api[_-]?key)\b\s*[=:]\s*[^\s,;\"']+")),
    ("secret", re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")),
    ("credentials", re.compile(r"(?<=://)[^\s/:@]+:[^\s/@]+(?=@)")),
    ("address", re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b")),
    ("card", re.compile(r"\b(?:\d{4}[ -]){3}\d{1,7}\b|\b\d{16}\b")),
)


def mask(text: str) -> str:
    """The text with what a rule matches replaced by the rule's name in brackets."""
    for name, rule in RULES:
        text = rule.sub(f"[{name}]", text)
    return text


def mask_json(body: bytes) -> bytes:
    """A record's JSON with its free text masked; the very same bytes when there is nothing to mask."""
    text = body.decode()
    if mask(text) == text:
        return body
    before = msgspec.json.decode(body)
    after = _masked(before, free=False)
    return body if after == before else msgspec.json.encode(after)


def _masked(value: Any, *, free: bool) -> Any:
    if isinstance(value, str):
        return mask(value) if free else value
    if isinstance(value, list):
        return [_masked(item, free=free) for item in value]
    if isinstance(value, dict):
        signed = "signature" in value and value["signature"]  # to mask it would make its signature look forged
        return value if signed else {k: _masked(item, free=k in FREE_TEXT) for k, item in value.items()}
    return value
