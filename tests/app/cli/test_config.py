"""`opsloop config show`, `--version`: what holds here, where it came from, and no secret."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import build
from app.errors import UserError
from app.kafka.remembered import remember


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(*words: str) -> dict[str, tuple[Any, str]]:
    result = CliRunner().invoke(build(), ["config", "show", "--json", *words])
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return {entry["setting"]: (entry["value"], entry["from"]) for entry in json.loads(result.stdout)}


def test_each_setting_is_shown_with_where_it_came_from(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "opsloop.toml").write_text('[safety]\nmode = "suggest"\nquorum = 2\n[api]\nburst = 9\n')
    monkeypatch.setenv("OPSLOOP_SAFETY__MODE", "autonomous")
    found = shown()
    assert found["safety.mode"] == ("autonomous", "OPSLOOP_SAFETY__MODE")
    assert found["safety.quorum"] == (2, "opsloop.toml")
    assert found["verification.hold_ms"] == (2_500, "default")
    changed = shown("--changed")
    assert {"safety.mode", "safety.quorum", "api.burst"} <= set(changed)
    assert "default" not in {source for _, source in changed.values()}


def test_the_broker_that_commands_find_by_themselves_is_shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPSLOOP_BROKER", raising=False)
    assert "broker" not in shown()
    remember("127.0.0.1:19092")
    assert shown()["broker"] == ("127.0.0.1:19092", "opsloop kafka up")
    monkeypatch.setenv("OPSLOOP_BROKER", "b:9092")
    assert shown()["broker"] == ("b:9092", "OPSLOOP_BROKER")


def test_no_secret_is_shown_and_where_one_is_kept_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSLOOP_POLICY__OPA_TOKEN", "hunter2")
    monkeypatch.setenv("OPSLOOP_KAFKA_SASL_PASSWORD", "hunter3")
    monkeypatch.setenv("OPSLOOP_KAFKA_SSL_KEY_PASSWORD", "file:/run/secrets/kafka")
    monkeypatch.setenv("OPSLOOP_KAFKA_SSL_KEY_LOCATION", "/etc/kafka.pem")
    monkeypatch.setenv("OPSLOOP_POLICY__OPA", "http://ana:hunter4@opa:8181")
    found = shown()
    assert "hunter" not in str(found)
    assert found["policy.opa_token"] == ("****", "OPSLOOP_POLICY__OPA_TOKEN")
    assert found["kafka.ssl.key.location"][0] == "/etc/kafka.pem"
    assert found["kafka.ssl.key.password"][0] == "file:/run/secrets/kafka"


def test_settings_that_are_not_valid_are_told_instead(here: Path) -> None:
    (here / "opsloop.toml").write_text("[safety]\nmoed = 1\n")
    with pytest.raises(UserError, match="moed"):
        shown()


def test_the_version_is_that_of_the_package() -> None:
    result = CliRunner().invoke(build(), ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"opsloop {version('opsloop')}\n")


def test_a_shell_can_complete_the_commands() -> None:
    given = {"_OPSLOOP_COMPLETE": "complete_bash", "COMP_WORDS": "opsloop conf", "COMP_CWORD": "1"}
    result = CliRunner().invoke(build(), [], prog_name="opsloop", env=given)
    assert result.stdout.split() == ["config"]
