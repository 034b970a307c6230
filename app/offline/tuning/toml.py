"""The `[detection]` section of settings as TOML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from app.offline.tuning.suggestions import Tried
from models.detection.settings import DetectionSettings, Pattern

DEFAULTS: Final = msgspec.to_builtins(DetectionSettings())
PLAIN: Final = msgspec.to_builtins(Pattern())
CONTROL: Final = dict.fromkeys((*range(32), *range(127, 160), 0x2028, 0x2029), " ")


def section(settings: DetectionSettings, why: str, found: Sequence[Tried]) -> str:
    """What `opsloop.toml` has to say, with the reason of each suggestion above its pattern.

    settings: with the recommended budget, and with those patterns that the user had already.
    """
    values = {k: v for k, v in msgspec.to_builtins(settings).items() if k != "patterns" and v != DEFAULTS[k]}
    values = {"false_alarms_a_week": settings.false_alarms_a_week} | values
    lines = [f"# {_line(why)}", "[detection]", *(f"{name} = {_value(value)}" for name, value in values.items())]
    for each in found:
        mark = "" if each.suggestion.sure else "# "
        lines += ["", f"# {_line(each.suggestion.why)};", f"# {_line(each.effect)}"]
        lines += [f"{mark}{line}" for line in _pattern(each.suggestion.pattern)]
    for pattern in settings.patterns:
        lines += ["", *_pattern(pattern)]
    return "\n".join(lines) + "\n"


def _pattern(pattern: Pattern) -> list[str]:
    values = msgspec.to_builtins(pattern)
    said = {name: value for name, value in values.items() if value is not None and value != PLAIN[name]}
    return ["[[detection.patterns]]", *(f"{name} = {_value(value)}" for name, value in said.items())]


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float):
        return repr(value)  # inf too
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")


def _line(text: str) -> str:
    return text.translate(CONTROL)
