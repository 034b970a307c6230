"""Comparisons of a policy whose sides are of two types: refused before it is evaluated.

OPA has an order over types (a number is less than any text), and the interpreter inside this process has none: a rule
`input.parameters.replicas > 2` fires always there and never here, because parameters are text. So where a policy says
`<`, `<=`, `>` or `>=`, both sides are of one type as far as their text tells; where it reads parameters, that must be
certain.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from models.policy.base import PolicyFault

NUMBER, TEXT, OTHER = "a number", "text", "a truth value or more"
Path = tuple[str, ...]
TypeOf = Callable[[Path], str]  # of a path of the input; empty: it is not known

_TOKEN: Final = re.compile(
    r"""(?P<text>"[^"\n]*")|(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<path>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\[[ \t]*"\w*"[ \t]*\])*)|(?P<sign><=|>=|:=|==|!=|[<>=+\-*/%()\[\]{},;|&])
    |(?P<line>\n)""",
    re.X,
)
_PART: Final = re.compile(r"\w+")
_ORDER: Final = frozenset({"<", "<=", ">", ">="})
_SUMS: Final = frozenset("+-*/%")
_NUMBERS: Final = frozenset({
    "abs", "ceil", "count", "floor", "indexof", "product", "round", "sum", "to_number", "bits.and", "bits.or",
})  # fmt: skip
_TEXTS: Final = frozenset({
    "lower", "upper", "replace", "sprintf", "substring", "trim", "trim_left", "trim_prefix", "trim_right", "trim_space",
    "trim_suffix", "strings.reverse",
})  # fmt: skip
_ENDS: Final = {")": "(", "]": "[", "}": "{"}
_MIXED: Final = re.compile(r"(?<![\w.])(?:max|min)\(")


class _Tokens:
    """A policy's text in pieces, and what is known of its names."""

    def __init__(self, text: str, type_of: TypeOf) -> None:
        self.kinds: list[str] = []
        self.texts: list[str] = []
        for found in _TOKEN.finditer(text):
            self.kinds.append(str(found.lastgroup))
            self.texts.append(found[0])
        self._type_of = type_of
        self._names: dict[str, set[str]] = {}
        self._inputs: dict[str, set[Path]] = {}  # names of parts of the input
        for at, said in enumerate(self.texts):
            if said == ":=" and at and self.kinds[at - 1] == "path":
                self._inputs.setdefault(self.texts[at - 1], set()).add(self._path(at + 1))
        for at, said in enumerate(self.texts):
            if said == ":=" and at and self.kinds[at - 1] == "path":
                self._names.setdefault(self.texts[at - 1], set()).add(self.right(at + 1))

    def _path(self, at: int) -> Path:
        """The path that stands at a place, from the input or a name on; empty: none does."""
        return tuple(_PART.findall(self.texts[at])) if at < len(self.texts) and self.kinds[at] == "path" else ()

    def left(self, end: int) -> str:
        """The type of what ends before a sign."""
        at = end - 1
        if at < 0:
            return ""
        begin = self._open(at) if self.texts[at] in _ENDS else at
        if self.texts[at] == ")" and begin and self.kinds[begin - 1] == "path":
            begin -= 1
        if begin and self.texts[begin - 1] in _SUMS:
            return NUMBER
        return self._operand(begin)

    def right(self, at: int) -> str:
        """The type of what begins after a sign."""
        if at < len(self.texts) and self.texts[at] == "-":
            return NUMBER
        if at >= len(self.texts):
            return ""
        after = at + 1
        if self.kinds[at] == "path" and after < len(self.texts) and self.texts[after] == "(":
            after = self._close(after) + 1
        if after < len(self.texts) and self.texts[after] in _SUMS:
            return NUMBER
        return self._operand(at)

    def _operand(self, at: int) -> str:
        kind, text = self.kinds[at], self.texts[at]
        if kind in ("number", "text"):
            return NUMBER if kind == "number" else TEXT
        if text in ("true", "false", "null") or text in "[{":
            return OTHER
        if kind != "path":
            return ""
        if at + 1 < len(self.texts) and self.texts[at + 1] == "(":
            return NUMBER if text in _NUMBERS else TEXT if text in _TEXTS else ""
        first, *rest = self._path(at)
        (known,) = named if len(named := self._inputs.get(first, set())) == 1 else ((),)
        if first == "input" or known[:1] == ("input",):
            return self._type_of((*known[1:], *rest))
        said = self._names.get(text, set())
        return next(iter(said)) if len(said) == 1 else ""

    def _open(self, at: int) -> int:
        """Where the bracket begins that ends at a place."""
        depth = 0
        for place in range(at, -1, -1):
            depth += (self.texts[place] in _ENDS) - (self.texts[place] in _ENDS.values())
            if depth == 0:
                return place
        return 0

    def _close(self, at: int) -> int:
        depth = 0
        for place in range(at, len(self.texts)):
            depth += (self.texts[place] in _ENDS.values()) - (self.texts[place] in _ENDS)
            if depth == 0:
                return place
        return len(self.texts) - 1


def require_one_type(text: str, type_of: TypeOf, *, parameters: bool) -> None:
    """Require that no order is asked of two types. parameters: whether the policy reads parameters.

    text: without comments; of its strings only plain words are there.

    Raises:
        PolicyFault: invalid, with the comparison and what to write.
    """
    tokens = _Tokens(text, type_of)
    for at, sign in enumerate(tokens.texts):
        if tokens.kinds[at] != "sign" or sign not in _ORDER:
            continue
        left, right = tokens.left(at), tokens.right(at + 1)
        if (left and left == right) or (not parameters and not (left and right)):
            continue
        around = " ".join(_line(tokens.texts, at))
        raise PolicyFault("invalid", f"`{around}` {_why(left, right)}")
    if parameters and _MIXED.search(text):
        raise PolicyFault("invalid", "max and min are not accepted beside parameters, which are text: use to_number")


def _why(left: str, right: str) -> str:
    if left and right:
        return f"compares {left} with {right}; parameters are text: write to_number(input.parameters.NAME)"
    return "may compare text with a number, since parameters are text: write to_number(…) on the side of the name"


def _line(texts: Sequence[str], at: int) -> Iterator[str]:
    """The pieces of the line around a place."""
    first = next((place + 1 for place in range(at, -1, -1) if texts[place] == "\n"), 0)
    for text in texts[max(first, at - 8) : at + 8]:
        if text == "\n":
            return
        yield text
