"""Masks secrets and addresses of people in free text of records.

Only free text is masked, before it is stored. Names of targets and parameters are covered by signatures and by the
action catalogue, which has a pattern for each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

FREE_TEXT: Final = frozenset({"reason", "reasons", "detail", "text", "note", "alternatives"})


class MaskingRule(NamedTuple):
    """A pattern and the name that replaces its matches. Any text that matches contains one of `hints` (lower case)."""

    name: str
    pattern: re.Pattern[str]
    hints: tuple[str, ...] = ("",)


Rules = tuple[MaskingRule, ...]

RULES: Final[Rules] = (
    MaskingRule(
        "private key",
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.S),
        ("private key",),
    ),
    MaskingRule("token", re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), ("eyj",)),
    MaskingRule("token", re.compile(r"(?i)\b(?:bearer|basic)\s+[\w.~+/=-]{8,}"), ("bearer", "basic")),
    MaskingRule(
        "secret",
        re.compile(r"(?i)\b(?:password|passwd|pwd|secret|token|api[_-]?key)\b\s*[=:]\s*[^\s,;\"']+"),
        ("passw", "pwd", "secret", "token", "api"),
    ),
    MaskingRule("secret", re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), ("akia", "asia")),
    MaskingRule("credentials", re.compile(r"(?<=://)[^\s/:@]+:[^\s/@]+(?=@)"), ("@",)),
    MaskingRule("address", re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b"), ("@",)),
    MaskingRule("card", re.compile(r"\b(?:\d{4}[ -]){3}\d{1,7}\b|\b\d{16}\b")),
)


def rules_with(own: Mapping[str, str]) -> Rules:
    """Return the built-in rules followed by `own`: replacement name → regular expression.

    Raises:
        ValueError: one is no regular expression, or matches the empty text.
    """
    made = []
    for name, pattern in own.items():
        try:
            rule = re.compile(pattern)
        except re.error as error:
            raise ValueError(f"the mask {name!r} is no regular expression ({error})") from None
        if rule.match(""):
            raise ValueError(f"the mask {name!r} matches the empty text")
        made.append(MaskingRule(name, rule))
    return (*RULES, *made)


def mask(text: str, rules: Rules = RULES) -> str:
    """Replace each match of a rule in a text by the rule's name in brackets."""
    small, plain = text.lower(), text.isascii()  # in other texts, a pattern may match letters that no hint has
    for rule in rules:
        if not plain or any(hint in small for hint in rule.hints):  # costs a hundredth of the pattern
            text = rule.pattern.sub(f"[{rule.name}]", text)
    return text


def mask_json(body: bytes, rules: Rules = RULES) -> bytes:
    """Mask the free text in a record's JSON. Returns `body` itself when nothing matches."""
    text = body.decode()
    if mask(text, rules) == text:
        return body
    before = msgspec.json.decode(body)
    after = _masked(before, rules, free=False)
    return body if after == before else msgspec.json.encode(after)


def _masked(value: Any, rules: Rules, *, free: bool) -> Any:
    if isinstance(value, str):
        return mask(value, rules) if free else value
    if isinstance(value, list):
        return [_masked(item, rules, free=free) for item in value]
    if isinstance(value, dict):
        signed = "signature" in value and value["signature"]  # masking would invalidate its signature
        return value if signed else {k: _masked(item, rules, free=k in FREE_TEXT) for k, item in value.items()}
    return value
