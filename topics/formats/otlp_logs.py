"""OpenTelemetry logs: each record as a line of a log. Field numbers are those of opentelemetry-proto 1.x, logs/v1."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

from topics.formats.names import Logged, instant, severity_of
from topics.formats.naming import Naming
from topics.formats.protobuf import Fields, any_of, fields, fixed, pairs
from topics.formats.tolerance import Refuse, strict, tried

# severity numbers go by fours, from TRACE to FATAL; 0 is not said
_SEVERITIES: Final = ("debug", "debug", "info", "warning", "err", "crit")
_NAMED: Final = "SEVERITY_NUMBER_"


def read_json(request: Mapping[str, Any], naming: Naming, refuse: Refuse = strict) -> Iterator[Logged]:
    """The lines of an ExportLogsServiceRequest in OTLP/JSON. `refuse` is told of each that cannot be read."""
    for resource in request["resourceLogs"]:
        yield from itertools.chain(*tried(refuse, _json_resource, resource, naming, refuse))


def _json_resource(resource: Mapping[str, Any], naming: Naming, refuse: Refuse) -> list[Logged]:
    entity = naming.of(labels_of(resource.get("resource", {}).get("attributes", ()))).entity
    lines: list[Logged] = []
    for scope in resource.get("scopeLogs", ()):
        logger = str(scope.get("scope", {}).get("name", ""))
        for record in scope.get("logRecords", ()):
            lines += tried(refuse, _json_record, entity, logger, record)
    return lines


def _json_record(entity: str, logger: str, record: Mapping[str, Any]) -> Logged:
    when = int(record.get("timeUnixNano", 0)) or int(record["observedTimeUnixNano"])
    severity = _severity(record.get("severityNumber", 0), str(record.get("severityText", "")))
    body = any_json(record.get("body", {})) or record.get("eventName", "")
    said = body or labels_of(record.get("attributes", ()))
    return Logged(entity, instant(when), severity, _line(logger, said))


def read_record(entity: str, logger: str, data: bytes) -> Logged:
    """The line of a LogRecord in protobuf. Raises KeyError when it has no time."""
    record = fields(data)
    when = (fixed(record[1][0]) if 1 in record else 0) or fixed(record[11][0])
    text = bytes(record[3][0]).decode() if 3 in record else ""
    severity = _severity(record[2][0] if 2 in record else 0, text)
    body = any_of(record[5][0]) if 5 in record else ""
    said = body or (bytes(record[12][0]).decode() if 12 in record else "") or pairs(record.get(6, ()))
    return Logged(entity, instant(when), severity, _line(logger, said))


def logger_of(scope: Fields) -> str:
    """The name of a scope."""
    held = fields(scope[1][0]) if 1 in scope else {}
    return bytes(held[1][0]).decode() if 1 in held else ""


def labels_of(attributes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Attributes in OTLP/JSON as a mapping."""
    return {a["key"]: any_json(a["value"]) for a in attributes}


def any_json(value: Mapping[str, Any]) -> Any:
    """What an `AnyValue` in OTLP/JSON holds; an empty text where it holds nothing."""
    if "arrayValue" in value:
        return [any_json(each) for each in value["arrayValue"].get("values", ())]
    if "kvlistValue" in value:
        return labels_of(value["kvlistValue"].get("values", ()))
    return next(iter(value.values()), "")


def _severity(number: int | str, text: str) -> str:
    """As syslog names it: by its number, or by its text where there is none. Some JSON has the number's name."""
    if isinstance(number, str) and number.startswith(_NAMED):
        text = number.removeprefix(_NAMED)
        number = 0
    if number:
        return _SEVERITIES[min(max(int(number) - 1, 0) // 4, len(_SEVERITIES) - 1)]
    return severity_of(text)


def _line(logger: str, said: Any) -> str:
    text = said if isinstance(said, str) else orjson.dumps(said).decode()
    return f"{logger}: {text.strip()}" if logger else text.strip()
