"""Settings: one frozen struct per subject, from defaults, then `opsloop.toml`, then the environment.

`OPSLOOP_SAFETY__MODE=autonomous` sets `mode` of `[safety]`, a table or list is written as JSON; the file is
`opsloop.toml` here, or what OPSLOOP_CONFIG names.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from app import plugins, shipped
from app.actuators.settings import ActuatorSettings
from app.api.settings import ApiSettings
from app.choices import choices
from app.errors import UserError
from app.history.settings import HistorySettings
from app.ingest.settings import IngestSettings, ReceiveSettings, naming
from app.kafka.settings import TopicsSettings
from app.policy.settings import PolicySettings
from app.security.settings import SecuritySettings
from models.actions import catalogue
from models.actions.base import Action
from models.decision.base import DecisionSettings
from models.detection.settings import DetectionSettings
from models.incidents.settings import IncidentSettings
from models.incidents.verification import VerificationSettings
from models.safety.limits import SafetySettings
from models.safety.masking import mask, rules_with
from models.topology.lifetimes import EntitySettings
from topics.patterns import examples
from topics.spec import domain_of, knows_domains, use_domains

catalogue.ship(shipped.actions())  # every process that decides reads settings


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set, by subject."""

    safety: SafetySettings = SafetySettings()
    detection: DetectionSettings = DetectionSettings()
    incidents: IncidentSettings = IncidentSettings()
    verification: VerificationSettings = VerificationSettings()
    security: SecuritySettings = SecuritySettings()
    policy: PolicySettings = PolicySettings()
    decision: DecisionSettings = DecisionSettings()
    api: ApiSettings = ApiSettings()
    ingest: IngestSettings = IngestSettings()
    receive: ReceiveSettings = ReceiveSettings()
    entities: EntitySettings = EntitySettings()
    actuators: ActuatorSettings = ActuatorSettings()
    topics: TopicsSettings = TopicsSettings()
    actions: tuple[Action, ...] = ()
    history: HistorySettings = HistorySettings()


def load(path: Path | None = None, environment: Mapping[str, str] = os.environ, *, mode: str = "") -> Settings:
    """The settings of this process; `mode` overrides that of `[safety]`.

    Actions of the settings, and detectors and formats of installed packages that the settings name, are known from
    here on. A package that cannot be imported is told on stderr and left out.

    Raises:
        UserError: a file that does not parse, an unknown name or a value of the wrong type, with where it stands.
    """
    settings = _read(path, environment, mode)
    try:
        catalogue.add(settings.actions)
    except ValueError as error:
        raise UserError(f"settings: [[actions]]: {error}", "Mend that action in opsloop.toml") from None
    naming(settings.ingest)  # a template that cannot be used is refused here
    use_domains(settings.incidents.domains)
    _require_apart(settings)
    ingest = msgspec.structs.replace(settings.ingest, topics=plugins.with_formats(settings.ingest.topics))
    return msgspec.structs.replace(settings, detection=plugins.with_detectors(settings.detection), ingest=ingest)


def know_domains() -> None:
    """Take the correlation domains from the settings here, unless this process has them. Raises UserError."""
    if not knows_domains():
        use_domains(_read(None, os.environ, "").incidents.domains)


def _require_apart(settings: Settings) -> None:
    """Return when no safety scope lies in two domains: each is counted by a worker of its own. Raises UserError."""
    found: dict[str, tuple[str, str]] = {}
    for entity in examples((*settings.safety.limit_scopes, *settings.incidents.domains)):
        scope, domain = settings.safety.scope_of(entity), domain_of(entity)
        other, there = found.setdefault(scope, (entity, domain))
        if there != domain:
            raise UserError(
                f"settings: [safety.limit_scopes] counts {other} and {entity} together as {scope!r}, and"
                f" [incidents.domains] puts them in {there!r} and {domain!r}",
                "Give each domain scopes of its own, or put both in one domain",
            )


def _read(path: Path | None, environment: Mapping[str, str], mode: str) -> Settings:
    """What stands in the settings. Raises UserError."""
    named = path or (Path(environment["OPSLOOP_CONFIG"]) if environment.get("OPSLOOP_CONFIG") else None)
    file = named or Path("opsloop.toml")
    tree: dict[str, Any] = {}
    if named is not None or file.exists():
        try:
            tree = tomllib.loads(file.read_text())
        except OSError as error:
            raise UserError(
                f"cannot read the settings file {file} ({error.strerror})",
                "Unset OPSLOOP_CONFIG, or point it at a file",
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{file} is not valid TOML: {error}", "Mend it and start again") from None
    for name, value in environment.items():
        subject, _, key = name.removeprefix("OPSLOOP_").lower().partition("__")
        if name.startswith("OPSLOOP_") and key:
            _set(tree, subject, key, value)
    if mode:
        _set(tree, "safety", "mode", mode)
    try:
        return msgspec.convert(tree, Settings, strict=False)
    except msgspec.ValidationError as error:
        told = choices(error, Settings)
        remedy = f"Look at {file} and the OPSLOOP_… variables"
        raise UserError(f"settings: {error}", f"{told}. {remedy}" if told else remedy) from None


def _set(tree: dict[str, Any], subject: str, key: str, value: str) -> None:
    if not isinstance(tree.setdefault(subject, {}), dict):
        raise UserError(f"settings: {subject} is no table", f"Write [{subject}] and its keys below it")
    tree[subject][key] = _parsed(value)


def _parsed(value: str) -> Any:
    """A variable that holds a table or a list holds it as JSON."""
    if value[:1] not in ("{", "["):
        return value
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value  # the field's own type says what is wrong with it


def masked(text: str) -> str:
    """A text without what the shipped rules and those of the settings mask."""
    return mask(text, rules_with(_read(None, os.environ, "").safety.masks))


def home() -> Path:
    """Where this user's running things keep their files: OPSLOOP_HOME, else `~/.opsloop`."""
    return Path(os.environ.get("OPSLOOP_HOME") or Path.home() / ".opsloop")
