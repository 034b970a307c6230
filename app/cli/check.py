"""`opsloop check`: hold a detector, a format or an actuator against what every one of its family promises."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.options import JsonOption
from app.errors import UserError

if TYPE_CHECKING:
    from app.offline.conformance.promises import Promise

NameArgument = Annotated[str, typer.Argument(help="Its name: of a shipped one, or of an entry point")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Hold detectors, formats and actuators against their promises")
    group.command()(detector)
    group.command()(format)
    group.command()(actuator)
    group.command()(plugins)
    app.add_typer(group, name="check")


def detector(name: NameArgument, json: JsonOption = False) -> None:
    """Try every promise of a detector. Exit code 1: it breaks one.

    Example: `opsloop check detector half_space_trees`.
    """
    from app import plugins
    from app.offline.conformance.detectors import PROMISES
    from models.detection import members

    if name not in members.MEMBERS:
        members.add([_of_package(plugins.DETECTORS, name, "detector", members.MEMBERS)])
    _report(PROMISES, members.member(name), f"detector {name}", json)


def format(
    name: NameArgument,
    example: Annotated[list[Path], typer.Option(help="A file with one message of the format; give it several times")],
    json: JsonOption = False,
) -> None:
    """Try every promise of a format on examples of its messages. Exit code 1: it breaks one.

    Example: `opsloop check format influx --example message.txt`.
    """
    from app import plugins
    from app.offline.conformance.formats import PROMISES, Subject
    from topics import formats

    if name not in formats.READERS:
        formats.add({name: _of_package(plugins.FORMATS, name, "format", formats.READERS)})
    _report(PROMISES, Subject(name, [_content(file) for file in example]), f"format {name}", json)


def actuator(
    name: NameArgument,
    action: Annotated[str, typer.Option(help="An action that is really done for a trial")] = "",
    target: Annotated[str, typer.Option(help="What the action is done to, as shop/cart")] = "",
    parameter: Annotated[list[str] | None, typer.Option(help="A parameter of the action, as name=value")] = None,
    json: JsonOption = False,
) -> None:
    """Try every promise of an actuator that settings enable. Exit code 1: it breaks one.

    Without --action and --target nothing is done, and only promises without an effect are tried.
    Example: `opsloop check actuator cache --action empty_cache --target shop/trial`.
    """
    from app.offline.conformance.actuators import Subject, promises

    if bool(action) != bool(target):
        raise UserError("an effect needs an action and a target", "Give --action and --target, or neither")
    pairs = [each.partition("=")[::2] for each in parameter or ()]
    subject = Subject(_actuator(name), action, target, dict(pairs))
    _report(promises(subject), subject, f"actuator {name}", json)


def plugins(json: JsonOption = False) -> None:
    """List what installed packages bring. Imports all of it. Exit code 1: something cannot be used."""
    from app import plugins as found
    from app.printing import out, print_json, print_table

    rows = [(p.group, p.name, p.package, found.state(p)) for p in found.installed()]
    if json:
        print_json([dict(zip(("group", "name", "package", "wrong"), row, strict=True)) for row in rows])
    elif rows:
        print_table("", ["group", "name", "package", "state"], ((*row[:3], row[3] or "loads") for row in rows))
    else:
        out.print("no installed package brings anything")
    if any(row[3] for row in rows):
        raise typer.Exit(1)


def _actuator(name: str) -> Any:
    from app import plugins
    from app.settings import load

    settings = load().actuators
    if name not in settings.enabled:
        raise UserError(f"settings do not enable an actuator {name!r}", f'Write enabled = ["{name}"] under [actuators]')
    factory = _of_package(plugins.ACTUATORS, name, "actuator", ())
    try:
        return factory(**settings.options.get(name, {}))
    except Exception as error:
        raise UserError(f"actuator {name} cannot be made: {error!r}", f"Look at [actuators.options.{name}]") from None


def _of_package(group: str, name: str, family: str, shipped: Iterable[str]) -> Any:
    from app import plugins

    try:
        return plugins.load(group, name)
    except plugins.PluginError as error:
        raise UserError(str(error), "Mend that package, or uninstall it", exit_code=1) from None
    except KeyError:
        names = sorted({*shipped, *(plugin.name for plugin in plugins.installed(group))})
        raise UserError(f"there is no {family} {name!r}", f"There are {', '.join(names)}") from None


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {file} ({error.strerror})", "Give --example a file with one message") from None


def _report(promises: Sequence[Promise[Any]], subject: Any, of: str, json: bool) -> None:
    from app.offline.conformance.promises import broken
    from app.printing import out, print_json

    results = []
    for text, fault in broken(promises, subject):
        results.append((text, fault))
        if not json:
            out.print(f"broken  {text}: {fault}" if fault else f"kept    {text}", markup=False, soft_wrap=True)
    wrong = [text for text, fault in results if fault]
    if json:
        print_json({"of": of, "promises": [{"promise": text, "broken": fault} for text, fault in results]})
    elif wrong:
        out.print(f"{of} breaks {len(wrong)} of {len(results)} promises", style="red")
    else:
        out.print(f"{of} keeps all {len(results)} promises", style="green")
    if wrong:
        raise typer.Exit(1)
