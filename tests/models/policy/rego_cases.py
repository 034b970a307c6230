"""Cases of the Rego language that are put to this process's interpreter and to OPA: the same text, the same input.

Each is the body of a module; what is compared is the whole document of its package, or that both refuse it.
"""

from __future__ import annotations

from typing import Any, Final

INPUT: Final[dict[str, Any]] = {
    "action": {"name": "scale_in", "known": True, "irreversible": False, "risk": "medium", "cost": -1.5, "n": 3},
    "target": {"id": "shop/catalog/0", "system": "shop", "service": "shop/catalog", "environment": "production"},
    "parameters": {"replicas": "2", "revision": "17"},
    "list": [3, 1, 2, 1], "names": ["b", "a", "c"], "empty": [], "none": None, "text": "  Große Straße ", "yes": True,
    "no": False, "nested": [{"a": 1, "b": [1, 2]}, {"a": 2, "b": []}],
}  # fmt: skip

# one line each: what stands behind `x :=`
EXPRESSIONS: Final[dict[str, tuple[str, ...]]] = {
    "abs": ("abs(input.action.cost)", "abs(-0)"),
    "ceil": ("ceil(1.2)", "ceil(-1.2)", "ceil(3)"),
    "floor": ("floor(1.8)", "floor(-1.2)"),
    "round": ("round(1.5)", "round(-1.5)", "round(2.4)"),
    "contains": ('contains("abc", "b")', 'contains("abc", "")', 'contains("abc", "z")'),
    "count": ("count(input.list)", "count(input.parameters)", 'count("äö")', "count({1, 1, 2})"),
    "startswith": ('startswith(input.target.id, "shop/")', 'startswith("a", "")'),
    "endswith": ('endswith(input.target.id, "/0")', 'endswith("", "a")'),
    "indexof": ('indexof("cheese", "s")', 'indexof("cheese", "z")', 'indexof("äöü", "ü")'),
    "is_array": ("is_array(input.list)",), "is_boolean": ("is_boolean(input.yes)",),
    "is_null": ("is_null(input.none)",),
    "is_number": ("is_number(1.5)",), "is_object": ("is_object(input.action)",), "is_set": ("is_set({1})",),
    "is_string": ("is_string(input.text)",),
    "lower": ("lower(input.text)", 'lower("ABC")'), "upper": ('upper("abc")', 'upper("a1-z")'),
    "max": ("max(input.list)", "max(input.names)", "max({1, 5})"), "min": ("min(input.list)", 'min(["b", "a"])'),
    "sum": ("sum(input.list)", "sum([])", "sum([1.5, 2])"), "product": ("product(input.list)", "product([])"),
    "replace": ('replace("a.b.c", ".", "/")', 'replace("aaa", "aa", "b")'),
    "split": ('split("a/b/c", "/")', 'split("abc", "")', 'split("", "/")'),
    "sprintf": ('sprintf("%s is %d", ["x", 3])', 'sprintf("%v", [1.5])', 'sprintf("%v and %v", [true, "t"])',
                'sprintf("%d%%", [50])', 'sprintf("%.2f", [1.005])'),
    "substring": ('substring("abcde", 1, 2)', 'substring("abc", 1, -1)', 'substring("abc", 5, 1)'),
    "to_number": ("to_number(input.parameters.replicas)", 'to_number("1.5")', "to_number(null)", "to_number(true)"),
    "trim": ('trim("--a--", "-")', 'trim("abc", "ac")'), "trim_left": ('trim_left("--a--", "-")',),
    "trim_right": ('trim_right("--a--", "-")',), "trim_prefix": ('trim_prefix("--a", "-")', 'trim_prefix("a", "b")'),
    "trim_suffix": ('trim_suffix("a--", "-")',), "trim_space": ("trim_space(input.text)",),
    "union": ("union({{1, 2}, {2, 3}})", "union(set())"), "intersection": ("intersection({{1, 2}, {2, 3}})",),
    "array.concat": ("array.concat([1], [2, 3])",),
    "array.slice": ("array.slice([1, 2, 3], 1, 2)", "array.slice([1], -1, 9)"),
    "array.reverse": ("array.reverse([1, 2, 3])", "array.reverse([])"),
    "object.get": ('object.get(input, "zzz", 7)', 'object.get(input, ["action", "risk"], "low")',
                   'object.get(input.action, "name", "")'),
    "object.keys": ("object.keys(input.parameters)",), "object.remove": ('object.remove({"a": 1, "b": 2}, ["a"])',),
    "strings.any_prefix_match": ('strings.any_prefix_match(input.target.id, ["bank/", "shop/"])',),
    "strings.any_suffix_match": ('strings.any_suffix_match("a.b", {"b", "c"})',),
    "strings.reverse": ('strings.reverse("abc")',),
    "regex.match": ('regex.match("^shop/[a-z]+/[0-9]$", input.target.id)', 'regex.match("a|b", "c")',
                    'regex.match("^[^/]+$", "a/b")', 'regex.match("^\\\\d{2,3}$", "12")'),
    "bits.and": ("bits.and(6, 3)",), "bits.or": ("bits.or(6, 3)",),
}  # fmt: skip

OPERATORS: Final = (
    "1 + 2 * 3", "7 / 2", "7 % 3", "10 - 12", "1.5 + 1", "2 * -3", "{1, 2} | {2, 3}", "{1, 2} & {2, 3}", "{1, 2} - {2}",
    "1 < 2", '"a" < "b"', "1 == 1.0", "[1, 2] == [1, 2]", "{1, 2} == {2, 1}", '{"a": 1} == {"a": 1}',
    "null == false",
    '1 in input.list', '9 in input.list', '"scale_in" in {"scale_in", "scale_out"}', '"a", 1 in {"a": 1}',
    "input.action.cost < 0", "input.list[0]", "input.list[9]", 'input["yes"]', "input.nested[1].a",
    "input.missing.deep",
    "[y | some y in input.list; y > 1]", "{y | some y in input.list}", "{k: v | some k, v in input.parameters}",
    "count([1 | some y in input.list; y == 1])", "1 / 4",
    "9007199254740993 + 1", "1e3 + 1", "0.5 * 4",
)  # fmt: skip

MODULES: Final[dict[str, str]] = {
    "default": "default allow := false\nallow if input.action.cost > 0",
    "default_overridden": "default allow := false\nallow if input.action.known",
    "undefined": "allow if input.action.irreversible",
    "false_is_a_value": "allow := input.no",
    "two_bodies": 'allow if input.action.name == "x"\nallow if input.action.name == "scale_in"',
    "negation": "allow if not input.action.irreversible",
    "negated_undefined": "allow if not input.missing",
    "negated_false": "allow if not input.no",
    "partial_set": 'deny contains msg if { input.yes; msg := "one" }\ndeny contains "two" if input.yes\n'
                   'deny contains "three" if input.no',
    "partial_set_of_objects": 'ask contains {"role": "lead", "quorum": 2} if input.yes',
    "partial_object": "o[k] := v if some k, v in input.parameters",
    "function": "twice(n) := n * 2\nx := twice(input.action.n)",
    "function_of_cases": 'word(n) := "one" if n == 1\nword(n) := "more" if n > 1\nx := [word(1), word(3)]',
    "function_undefined": 'word(n) := "one" if n == 1\nx := word(7)',
    "every": "allow if { every y in input.list { y > 0 } }",
    "every_fails": "allow if { every y in input.list { y > 1 } }",
    "every_of_none": "allow if { every y in input.empty { y > 1 } }",
    "some_in": "allow if { some y in input.list; y == 2 }",
    "some_index": "x contains i if { some i; input.list[i] == 1 }",
    "nested_iteration": "x contains [o.a, y] if { some o in input.nested; some y in o.b }",
    "else": 'x := 1 if input.no\nelse := 2 if input.yes\nelse := 3',
    "rule_uses_rule": "a if input.yes\nb if a\nallow if { a; b }",
    "set_comprehension_in_rule": "n := count({y | some y in input.list})\nallow if n == 3",
    "unification": "x := [a, b] if { [a, b] = [1, 2] }",
    "chained_references": 'x := input.nested[0]["b"][1]',
    "constants": 'allowed := {"scale_in", "restart_service"}\nallow if input.action.name in allowed',
    "string_compare": 'allow if input.action.risk != "high"',
    "multiline": "allow if {\n\tinput.yes\n\tcost := abs(input.action.cost)\n\tcost < 2\n}",
    "conflict": "x := 1 if input.yes\nx := 2 if input.yes",
    "division_by_zero": "x := 1 / (input.action.n - 3)",
    "bad_number": "x := to_number(input.target.system)",
    "recursion": "a if b\nb if a",
    "unknown_function": "x := nosuch(1)",
    "unclosed": "allow if {",
    "raw_string": "x := `a\\b`",
    "escapes": 'x := "tab\\t quote\\" ü"',
    "default_function_argument": "f(a, b) := a + b\nx := f(1, 2)",
    "object_iteration": "x contains v if { some k, v in input.parameters; startswith(k, \"rev\") }",
    "arithmetic_compare": "allow if input.action.cost * 2 <= -3",
    "deep_default": 'default role := "approver"\nrole := "lead" if input.action.irreversible',
    "boolean_rule_in_set": "x := {input.yes, input.no}",
    "null_value": "x := input.none",
    "empty_collections": "x := [[], {}, set()]",
    "old_date_compare": 'allow if "2026-11-21" < "2026-12-01"',
    "shadowed_local": "a := 1\nx := a + b if { b := 2 }",
    "ternary_like": 'x := "big" if { input.action.n > 2 }\nx := "small" if { input.action.n <= 2 }',
}  # fmt: skip


# what this process's interpreter takes otherwise than OPA: each is refused before it is evaluated
UNEQUAL: Final[dict[str, str]] = {
    "order_of_a_set": 'x := concat(",", {"y", "x"})',
    "negative_in_another_base": "x := format_int(-5, 2)",
    "order_of_mixed_types": 'x := sort([2, "a", null, true])',
    "depth_of_a_union": 'x := object.union({"a": {"x": 1}}, {"a": {"y": 2}})',
    "width_in_a_format": 'x := sprintf("%5d|%-5s|", [3, "a"])',
    "flag_in_a_pattern": 'x := regex.match("(?i)ABC", "xabcx")',
    "unknown_name": "x := not_there",
    "unsafe_variable": "allow if { y > 1 }",
    "assigned_twice": "allow if { a := 1; a := 2; a == 1 }",
    "address_in_a_network": 'x := net.cidr_contains("10.0.0.0/8", "10.1.2.3")',
    "time_of_a_text": 'x := time.parse_rfc3339_ns("2026-11-21T00:00:00Z")',
    "template": 'x := strings.render_template("{{.a}}", {"a": 1})',
    "schema": 'x := json.match_schema("{}", "{}")',
    "encoded_query": 'x := urlquery.encode("a b")',
    "index_first_in_an_array": 'x := [i | some i, y in input.names; y == "c"]',
}  # fmt: skip


def modules() -> dict[str, str]:
    """Every case as the body of a module, by name."""
    found = {f"{name.replace('.', '_')}_{i}": f"x := {e}" for name, es in EXPRESSIONS.items() for i, e in enumerate(es)}
    found |= {f"operator_{i}": f"x := {expression}" for i, expression in enumerate(OPERATORS)}
    return found | MODULES
