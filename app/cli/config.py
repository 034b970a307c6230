"""`opsloop config`: the settings that hold here, and where each came from."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from app.cli.options import JsonOption
from app.printing import out, print_json, print_table

HIDDEN: Final = "****"
SECRET: Final = re.compile(
    r"passw|passphrase|secret|token|credential|private|(^|[._])key($|[._])|jaas|sasl\.oauth", re.I
)
POINTER: Final = re.compile(r"(file|env|vault):")  # a value that says where a secret is, see docs/security.md

commands = typer.Typer(no_args_is_help=True, help="The settings that hold here.")


class SettingEntry(msgspec.Struct, frozen=True):
    """One setting as it holds."""

    setting: str
    value: Any
    source: str = msgspec.field(name="from")


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="config")


@commands.callback()
def _group() -> None:
    """The settings that hold here."""


@commands.command()
def show(
    changed: Annotated[bool, typer.Option("--changed", help="Only those that are not the default")] = False,
    json: JsonOption = False,
) -> None:
    """List every setting with its value and where that came from: the default, the file, or a variable.

    Secrets are not shown. Example: `opsloop config show --changed`
    """
    found = [entry for entry in effective(os.environ) if not (changed and entry.source == "default")]
    if json:
        print_json(found)
        return
    print_table("", ("setting", "value", "from"), (
        (entry.setting, msgspec.json.encode(entry.value).decode(), entry.source) for entry in found
    ))  # fmt: skip
    if not found:
        out.print("everything is as by default")


def effective(environment: Mapping[str, str]) -> Iterator[SettingEntry]:
    """Every setting, then what the environment says of the broker and of this user's home.

    Raises:
        UserError: the settings are not valid, with where the mistake stands.
    """
    from app.kafka.remembered import remembered
    from app.settings import load

    settings = msgspec.to_builtins(load(environment=environment))
    file, tree = _file(environment)
    for subject, values in settings.items():
        if not isinstance(values, dict):  # a list of tables, as [[actions]]
            yield SettingEntry(subject, _shown(subject, values), str(file) if subject in tree else "default")
            continue
        for name, value in values.items():
            setting, variable = f"{subject}.{name}", _variable(subject, name, environment)
            source = variable or (str(file) if name in tree.get(subject, {}) else "default")
            yield SettingEntry(setting, _shown(setting, value), source)
    if not environment.get("OPSLOOP_BROKER") and (broker := remembered()):
        yield SettingEntry("broker", broker, "opsloop kafka up")
    for variable, value in sorted(environment.items()):
        if variable in ("OPSLOOP_BROKER", "OPSLOOP_HOME", "OPSLOOP_CONFIG") or variable.startswith("OPSLOOP_KAFKA_"):
            name = variable.removeprefix("OPSLOOP_").lower()
            yield SettingEntry(
                name.replace("_", ".") if name.startswith("kafka_") else name, _shown(name, value), variable
            )


def _file(environment: Mapping[str, str]) -> tuple[Path, Mapping[str, Any]]:
    """The file of settings, which has been read once already, and its tables; none: an empty one."""
    file = Path(environment.get("OPSLOOP_CONFIG") or "opsloop.toml")
    return file, tomllib.loads(file.read_text()) if file.exists() else {}


def _variable(subject: str, name: str, environment: Mapping[str, str]) -> str:
    """The variable that sets it; empty: none does."""
    wanted = f"OPSLOOP_{subject}__{name}".upper()
    return next((variable for variable in environment if variable.upper() == wanted), "")


def _shown(name: str, value: Any) -> Any:
    """A value without what is secret in it, by its name or by the rules that mask what is kept."""
    from models.safety.masking import mask

    if isinstance(value, dict):
        return {key: _shown(f"{name}.{key}", inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shown(name, inner) for inner in value]
    if not isinstance(value, str) or not value or POINTER.match(value):
        return value
    plain = name.replace("_", ".")
    return HIDDEN if SECRET.search(plain) and not plain.endswith("location") else mask(value)
