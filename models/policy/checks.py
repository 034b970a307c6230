"""Static checks of a policy's text, before it is evaluated.

The interpreter inside this process is not OPA: some of OPA's built-ins are undefined here, so a rule that uses one
never fires. Therefore only built-ins that tests found equal in both are accepted, and only paths of the input that
exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, get_type_hints

import msgspec

from models.policy.base import PolicyFault
from models.policy.comparisons import NUMBER, OTHER, TEXT, require_one_type
from topics.policies import Facts

LONGEST: Final = 8_000  # maximum characters of a policy

BUILTINS: Final = frozenset(
    {"abs", "ceil", "contains", "count", "endswith", "floor", "indexof", "is_array",
     "is_boolean", "is_null", "is_number", "is_object", "is_set", "is_string", "lower", "max", "min", "product",
     "replace", "round", "split", "sprintf", "startswith", "substring", "sum", "to_number", "trim",
     "trim_left", "trim_prefix", "trim_right", "trim_space", "trim_suffix", "upper", "union", "intersection",
     "array.concat", "array.slice", "array.reverse", "object.get", "object.keys", "object.remove",
     "strings.any_prefix_match", "strings.any_suffix_match", "strings.reverse", "regex.match", "bits.and", "bits.or"}
)  # fmt: skip
_OTHERS: Final = frozenset(  # plain names of OPA's built-ins that would look like functions of the policy
    {"all", "and", "any", "concat", "format_int", "sort", "cast_array", "cast_boolean", "cast_null", "cast_object",
     "cast_set", "cast_string", "div", "eq", "equal", "gt", "gte", "indexof_n", "lt", "lte", "minus", "mul",
     "neq", "or", "plus", "print", "re_match", "rem", "set_diff", "trace", "type_name", "walk"}
)  # fmt: skip
_WORDS: Final = frozenset(
    {"_", "as", "contains", "default", "else", "every", "false", "if", "import", "in", "input", "not", "null",
     "package", "rego", "set", "some", "true"}
)  # fmt: skip

_HIDDEN: Final = re.compile(r'#[^\n]*|"(?:[^"\\\n]|\\.)*"|`[^`]*`')
_CALL: Final = re.compile(r"(?<![\w.])([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\(")
_FUNCTION: Final = re.compile(r"^(?:default[ \t]+)?([A-Za-z_]\w*)\(([^()]*)\)\s*(?::=|=|if\b|\{)", re.MULTILINE)
_STEPS: Final = r"""((?:\.[A-Za-z_]\w*|\[[ \t]*"\w+"[ \t]*\])*)"""  # steps of a reference: `.name` or `["name"]`
_INPUT: Final = re.compile(rf"""(?<![\w."])input\b{_STEPS}""")
_DOTTED: Final = re.compile(
    r"(?<![\w.])input\b((?:\.[A-Za-z_]\w*)*)"
)  # a reference with an index counts as the whole input
_PART: Final = re.compile(r"\w+")
_GET: Final = re.compile(rf"""object\.get\(\s*input\b{_STEPS}\s*,\s*"(\w+)\"""")
_ALIAS: Final = re.compile(rf"(?<![\w.])([A-Za-z_]\w*)[ \t]*:=[ \t]*input\b{_STEPS}[ \t]*(?=[\n;}}]|$)")
_NAME: Final = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_BOUND: Final = (  # where a name is defined
    re.compile(r"^(?:default[ \t]+)?([A-Za-z_]\w*)\b(?=\s*(?::=|=|if\b|contains\b|\[|\{))", re.MULTILINE),
    re.compile(r"(?<![\w.])([A-Za-z_]\w*)\s*:="),
    re.compile(r"(?<![\w.])(?:some|every)\s+([A-Za-z_]\w*(?:\s*,\s*[A-Za-z_]\w*)*)"),
)
_STEP: Final = re.compile(r"[{}]|(?<![\w.])[A-Za-z_]\w*(?=\s*:=)")
_FORBIDDEN: Final = (
    (re.compile(r"\$"), "template strings are not accepted"),
    (re.compile(r"(?<![\w.])with\b"), "`with` belongs into tests"),
    (re.compile(r"(?<![\w.])data\b"), "a policy sees its input and itself, no other data"),
    (re.compile(r"\][ \t]*\("), "a function is called by its name"),
    (re.compile(r"^\s*import\b(?!\s+rego\.v1\s*$)", re.MULTILINE), "nothing but rego.v1 is imported"),
    (re.compile(r"(?<![\w.])(?:http|opa|net|time|rand|io|crypto|graphql|uuid|units)\s*[\[\.]"),
     "built-ins that read a clock, the network or the host are not accepted"),
)  # fmt: skip

Path = tuple[str, ...]
RENAMED: Final = {"input.wish": "input.proposal"}  # paths that older policies may still use


def bare(source: str) -> str:
    """Return the text without comments and with empty strings."""
    return _HIDDEN.sub(lambda found: " " if found[0].startswith("#") else '""', source)


def check(source: str) -> frozenset[Path]:
    """Check a policy's text. Returns the paths of the input that it reads; the empty path is the whole input.

    Raises:
        PolicyFault: invalid, with the reason.
    """
    if len(source) > LONGEST:
        raise PolicyFault("invalid", f"it is longer than {LONGEST} characters")
    text = bare(source)
    for pattern, objection in _FORBIDDEN:
        if pattern.search(text):
            raise PolicyFault("invalid", objection)
    _formats(source)
    own = {name for name, _ in _FUNCTION.findall(text)}
    if taken := own & (BUILTINS | _OTHERS):
        raise PolicyFault("invalid", f"{', '.join(sorted(taken))}: the name is that of a built-in")
    called = {name for name in _CALL.findall(text) if name == "contains" or name not in _WORDS}
    if strange := called - BUILTINS - own:
        raise PolicyFault("invalid", f"{', '.join(sorted(strange))}: not among the built-ins that are accepted")
    _names(text)
    _assignments(text)
    readable = _readable(source)
    named = [_path(path) for path in _references(readable)]
    require_one_type(readable, _type_of, parameters=any(path[:1] in ((), ("parameters",)) for path in named))
    return frozenset(_path(tuple(_PART.findall(steps))) for steps in _DOTTED.findall(text))


def _readable(source: str) -> str:
    """Return the text without comments; strings that are not a plain word become empty."""
    return _HIDDEN.sub(lambda found: " " if found[0].startswith("#") else _shown(found[0]), source)


def _shown(string: str) -> str:
    return string if re.fullmatch(r'"\w+"', string) else '""'


def _references(text: str) -> Iterator[Path]:
    """Yield every path of the input that a text names, also in `object.get` and through an alias.

    An alias is followed only when its name is assigned once, so that its value is certain.
    """
    found = [tuple(_PART.findall(steps)) for steps in _INPUT.findall(text)]
    yield from found
    yield from ((*_PART.findall(steps), name) for steps, name in _GET.findall(text))
    named = _ALIAS.findall(text)
    for name, steps in named:
        if len(re.findall(rf"(?<![\w.]){name}[ \t]*:=", text)) == 1:
            used = re.findall(rf"(?<![\w.]){name}\b{_STEPS}", text)
            yield from ((*_PART.findall(steps), *_PART.findall(more)) for more in used)


def _names(text: str) -> None:
    """Require that every name is defined. In this interpreter an unknown one is undefined, so its rule never fires."""
    known = set(_WORDS) | {name.partition(".")[0] for name in BUILTINS}
    known |= {word for _, arguments in _FUNCTION.findall(text) for word in _NAME.findall(arguments)}
    known |= {word for pattern in _BOUND for found in pattern.findall(text) for word in _NAME.findall(found)}
    known |= {name for name, _ in _FUNCTION.findall(text)}
    body = re.sub(r"^package\b.*$", "", text, count=1, flags=re.MULTILINE)
    if strange := set(_NAME.findall(body)) - known:
        raise PolicyFault("invalid", f"{', '.join(sorted(strange))}: names that mean nothing (:= gives a meaning)")


def _assignments(text: str) -> None:
    """Require that no name is assigned twice in one body: OPA refuses that, this interpreter makes it undefined."""
    blocks: list[set[str]] = [set()]
    for step in _STEP.findall(text):
        if step == "{":
            blocks.append(set())
        elif step == "}":
            if len(blocks) > 1:
                blocks.pop()
        elif len(blocks) > 1 and step in blocks[-1]:
            raise PolicyFault("invalid", f"{step} is assigned twice")
        else:
            blocks[-1].add(step)


def _formats(source: str) -> None:
    """Refuse formats and patterns that the two interpreters treat differently."""
    for text in (found for found in _HIDDEN.findall(source) if not found.startswith("#")):
        if re.search(r"%[-+#0-9]", text.replace("%%", "")) and "sprintf" in source:
            raise PolicyFault("invalid", f"{text}: widths and flags are not accepted in formats")
        if "(?" in text and "regex.match" in source:
            raise PolicyFault("invalid", f"{text}: flags are not accepted in patterns")


def _path(parts: Path) -> Path:
    """Return the part of a reference that names fields of the input.

    Raises:
        PolicyFault: the input has no such field, so a rule that uses it could never fire.
    """
    shape: Any = Facts
    for number, part in enumerate(parts):
        if not (isinstance(shape, type) and issubclass(shape, msgspec.Struct)):
            return parts[:number]  # below a parameter or a plain value: not checked
        shapes = get_type_hints(shape)
        if part not in shapes:
            path = ".".join(("input", *parts[: number + 1]))
            if path in RENAMED:
                raise PolicyFault("invalid", f"{path} is now {RENAMED[path]}: write that, and register it again")
            raise PolicyFault("invalid", f"{path}: there is {', '.join(sorted(shapes))}, and no {part}")
        shape = shapes[part]
    return parts


def _type_of(parts: Path) -> str:
    """What a field of the input is, or a parameter; empty where it is more than one value."""
    shape: Any = Facts
    for part in parts:
        if not (isinstance(shape, type) and issubclass(shape, msgspec.Struct)):
            return TEXT if shape == dict[str, str] else ""
        shape = get_type_hints(shape).get(part)
    return {str: TEXT, int: NUMBER, float: NUMBER, bool: OTHER}.get(shape, "")


def project(facts: Mapping[str, Any], paths: frozenset[Path]) -> dict[str, Any]:
    """Return the part of an input document at these paths."""
    if () in paths:
        return dict(facts)
    found: dict[str, Any] = {}
    for path in sorted(paths):
        source: Any = facts
        place = found
        for part in path[:-1]:
            source, place = source[part], place.setdefault(part, {})
        place[path[-1]] = source[path[-1]]
    return found
