"""What packs say of series, compiled to the data that the lane works with (`topics.meanings`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from models.knowledge.base import DerivedSignal, Pack
from models.knowledge.expression import ExpressionFault, Node, Operand, Operation, operands, parse
from models.knowledge.knowledge import Knowledge, patterns
from topics.kinds import COUNTER, meaning
from topics.meanings import ADD, DIVIDE, MULTIPLY, NUMBER, SUBTRACT, Allowed, Meanings, Program

CODES: Final = {"+": ADD, "-": SUBTRACT, "*": MULTIPLY, "/": DIVIDE}
GLOB: Final = frozenset("*?[")


def compiled(knowledge: Knowledge) -> Meanings:
    """What all packs that hold say of series."""
    derived = tuple(program for signal in knowledge.derived if (program := _program(signal)))
    return Meanings(derived, _counters(knowledge), tuple(each for pack in knowledge.packs for each in _ranges(pack)))


def _program(signal: DerivedSignal) -> Program | None:
    """A derived signal in postfix order; None: it has no expression, or one that needs no signal."""
    try:
        node = parse(signal.expression)
    except ExpressionFault:
        return None
    needed = list(dict.fromkeys(map(_pattern, operands(node))))
    if not needed:
        return None
    code, numbers = list[int](), list[float]()
    for each in _postfix(node):
        if isinstance(each, Operand):
            code.append(needed.index(_pattern(each)))
        elif isinstance(each, Operation):
            code.append(CODES[each.sign])
        else:
            code.append(NUMBER)
            numbers.append(each)
    return Program(signal.name, tuple(needed), tuple(code), tuple(numbers), signal.like)


def _postfix(node: Node) -> Iterator[Node]:
    if isinstance(node, Operation):
        yield from _postfix(node.left)
        yield from _postfix(node.right)
    yield node


def _pattern(operand: Operand) -> str:
    return f"rate({operand.name})" if operand.rate else operand.name


def _counters(knowledge: Knowledge) -> tuple[str, ...]:
    """What packs name by its whole name as `rate(name)`, and nowhere as a level: it only grows, whoever sends it."""
    needed = [o for signal in knowledge.derived if _program(signal) for o in operands(parse(signal.expression))]
    named = [_pattern(operand) for operand in needed]
    named += [p for pack in knowledge.packs for place, p in patterns(pack) if not place.startswith("signals ")]
    rates = {p[5:-1] for p in named if p.startswith("rate(") and p.endswith(")")}
    levels = {_stem(p) for p in named if not p.startswith("rate(")}
    return tuple(sorted(
        p for p in rates
        if _stem(p) not in levels and not GLOB.intersection(_stem(p)) and meaning(_stem(p)).kind != COUNTER
    ))  # fmt: skip


def _stem(pattern: str) -> str:
    return pattern.partition("{")[0]


def _ranges(pack: Pack) -> Iterator[Allowed]:
    """The ranges that hold whatever has been learned: of symptoms for which nothing else has to deviate."""
    for rule in pack.symptoms:
        if any(condition.off for condition in rule.when):
            continue
        for condition in rule.when:
            if condition.above is None or condition.below is None:  # both: a range within which values are wrong
                yield Allowed(condition.signal, condition.below, condition.above, pack.head.entities)
