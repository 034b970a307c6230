"""Expressions of derived signals: `+ - * /`, numbers, parentheses, names of signals and `rate(name)`.

`rate(errors_total{code="5*"}) / rate(requests_total)`. A name means every series that it matches as a pattern, added
up; `rate(name)` means their rates per second. A name is written without `*`: only attributes' values may be globs.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

DEEPEST: Final = 50  # nested parentheses
LONGEST: Final = 500  # characters
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.])
    |(?P<name>[A-Za-z_:][\w:.]*(?:\{(?:[^{}"]|"(?:[^"\\]|\\.)*")*\})?)
    |(?P<sign>[-+*/()]))""",
    re.X,
)


class ExpressionFault(ValueError):
    """A text that is no expression; the message says what is wrong and at which character."""


class Operand(msgspec.Struct, frozen=True):
    """A signal, or its rate."""

    name: str
    rate: bool = False


class Operation(msgspec.Struct, frozen=True):
    """Two parts with a sign between them."""

    sign: str
    left: Node
    right: Node


Node = float | Operand | Operation


@functools.lru_cache(maxsize=10_000)
def parse(text: str) -> Node:
    """The expression that a text says. Raises ExpressionFault."""
    if len(text) > LONGEST:
        raise ExpressionFault(f"it has more than {LONGEST} characters")
    return _Parser(text).whole()


def operands(node: Node) -> Iterator[Operand]:
    """The signals that an expression needs, from left to right."""
    match node:
        case Operand():
            yield node
        case Operation():
            yield from operands(node.left)
            yield from operands(node.right)


class _Parser:
    """Recursive descent: sum of products of atoms."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str, int]] = []
        self.depth = 0
        text = text.rstrip()
        at = 0
        while at < len(text):
            one = _TOKEN.match(text, at)
            if one is None or one.lastgroup is None:
                raise ExpressionFault(f"character {at + 1} ({text[at:].lstrip()[:1]!r}) belongs to no expression")
            self.tokens.append((one.lastgroup, one[one.lastgroup], one.start(one.lastgroup) + 1))
            at = one.end()

    def whole(self) -> Node:
        node = self._chain("+-", lambda: self._chain("*/", self._atom))
        if self.tokens:
            _, text, at = self.tokens[0]
            raise ExpressionFault(f"{text!r} at character {at} follows a complete expression")
        return node

    def _chain(self, signs: str, part: Callable[[], Node]) -> Node:
        node = part()
        while self._next() in tuple(signs):
            sign = self.tokens.pop(0)[1]
            node = Operation(sign, node, part())
        return node

    def _next(self) -> str:
        return self.tokens[0][1] if self.tokens else ""

    def _atom(self) -> Node:
        if not self.tokens:
            raise ExpressionFault("it ends where a name or a number should follow")
        kind, text, at = self.tokens.pop(0)
        if kind == "number":
            return float(text)
        if text == "-":
            return Operation("-", 0.0, self._atom())
        if text == "(":
            return self._inside()
        if kind != "name":
            raise ExpressionFault(f"{text!r} at character {at} stands where a name or a number should")
        if self._next() != "(":
            return Operand(text)
        if text != "rate":
            raise ExpressionFault(f"there is no function {text!r} (character {at}): only rate()")
        self.tokens.pop(0)
        inner = self._inside()
        if not isinstance(inner, Operand) or inner.rate:
            raise ExpressionFault(f"rate() at character {at} takes the name of one signal")
        return Operand(inner.name, rate=True)

    def _inside(self) -> Node:
        """What stands before the next closing parenthesis."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise ExpressionFault(f"more than {DEEPEST} parentheses are nested")
        node = self._chain("+-", lambda: self._chain("*/", self._atom))
        if self._next() != ")":
            raise ExpressionFault("a parenthesis is not closed")
        self.tokens.pop(0)
        self.depth -= 1
        return node
