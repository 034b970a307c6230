"""Settings: defaults, then the file, then the environment, then the command line; what is wrong is told in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import UserError
from app.settings import Settings, home, know_domains, load
from models.safety.modes import Mode
from topics.spec import domain_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "opsloop.toml"


def test_without_a_file_and_an_environment_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(environment={}) == Settings()
    assert load(environment={}).safety.mode is Mode.APPROVE, "a person is asked, unless somebody says otherwise"


def test_what_is_nearer_wins(file: Path) -> None:
    file.write_text('[safety]\nmode = "observe"\nper_target = 7\ncooldown_ms = 5\n[verification]\nhold_ms = 9\n')
    environment = {"OPSLOOP_SAFETY__MODE": "act_and_report", "OPSLOOP_SAFETY__PER_TARGET": "8", "PATH": "/bin"}
    assert load(file, {}).safety.mode is Mode.OBSERVE
    settings = load(file, environment)
    assert (settings.safety.mode, settings.safety.per_target) == (Mode.ACT_AND_REPORT, 8)
    assert (settings.safety.cooldown_ms, settings.verification.hold_ms) == (5, 9)
    assert load(file, environment, mode="autonomous").safety.mode is Mode.AUTONOMOUS


def test_the_environment_names_the_file(file: Path) -> None:
    file.write_text("[safety]\nper_target = 7\n")
    assert load(environment={"OPSLOOP_CONFIG": str(file)}).safety.per_target == 7


def test_a_file_here_is_found(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("[safety]\nper_target = 7\n")
    monkeypatch.chdir(file.parent)
    assert load(environment={}).safety.per_target == 7


@pytest.mark.parametrize(
    ("text", "environment", "told"),
    [
        ("[safety", {}, "is not valid TOML"),
        ("\x00", {}, "is not valid TOML"),
        ("[safety]\nmoed = 'autonomous'", {}, "unknown field `moed`"),
        ("[verification]\nhold = 1", {}, "unknown field `hold`"),
        ("[saftey]\nper_target = 1", {}, "unknown field `saftey`"),
        ("[safety]\nmode = 'bold'", {}, "Invalid enum value 'bold'"),
        ("[safety]\nper_target = -1", {}, "`int` >= 0"),
        ("safety = 3", {}, "Expected `object`"),
        ("safety = 3", {"OPSLOOP_SAFETY__MODE": "observe"}, "safety is no table"),
        ("", {"OPSLOOP_SAFETY__PER_TARGET": "many"}, "Expected `int`"),
        ("", {"OPSLOOP_SAFETY__MOED": "autonomous"}, "unknown field `moed`"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(file: Path, text: str, environment: dict[str, str], told: str) -> None:
    file.write_text(text)
    with pytest.raises(UserError, match=told) as error:
        load(file, environment)
    assert error.value.remedy
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[saftey]\nper_target = 1", r"Did you mean safety\? the file takes safety, detection, .*ingest"),
        ("[safety]\nmoed = 'observe'", r"Did you mean mode\? \[safety\] takes mode, scopes, .*open_for_ms"),
        ("[safety]\nmode = 'bold'", r"\[safety\.mode\] takes observe, suggest, approve, act_and_report, autonomous"),
        ("[safety.scopes]\nshop = 'observed'", r"Did you mean observe\? .* takes observe, suggest, approve, "),
        ("[safety]\ndry_run = 'perhaps'", r"\[safety\.dry_run\] takes true, false"),
        ("[[safety.freezes]]\ncrn = '* * * * *'", r"Did you mean cron\? \[safety\.freezes\[0\]\] takes .*cron"),
        ("[ingest.topics]\nmine = 'telegraph'", r"Did you mean telegraf\? There are auto, collectd, fluent_bit"),
        ("[[detection.patterns]]\nlearners = ['adwim']", r"Did you mean adwin\? There are absolute_deviation, adwin"),
        ("[[detection.patterns]]\ndirection = 'left'", r"\[detection\.patterns\[0\]\.direction\] takes both, down, up"),
    ],
)
def test_what_is_unknown_is_told_with_what_is_known_there(file: Path, text: str, told: str) -> None:
    file.write_text(text)
    with pytest.raises(UserError, match=told) as error:
        load(file, {})
    assert error.value.remedy


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[incidents.domains]\n'shop/cat*' = 'a'", "'shop/cat\\*' divides what belongs together"),
        ("[safety.limit_scopes]\n'a/b/c' = 'a'", "'a/b/c' divides what belongs together"),
        ("[safety.scopes]\n'a//b' = 'observe'", "no part of an entity's name is empty"),
        ("[safety.environments]\n'' = 'staging'", "write \\* for everything"),
        ("[[safety.freezes]]\ncron = '* * * * *'\nminutes = 1\nscope = '/shop'", "'/shop' matches nothing"),
    ],
)
def test_a_pattern_that_can_match_nothing_is_refused_with_the_remedy(file: Path, text: str, told: str) -> None:
    file.write_text(text)
    with pytest.raises(UserError, match=told):
        load(file, {})


def test_domains_of_the_settings_are_those_of_the_process(file: Path) -> None:
    file.write_text("[incidents.domains]\n'shop/*' = 'retail'")
    load(file, {})
    assert (domain_of("shop/cart/0"), domain_of("web-1")) == ("retail", "main")


def test_a_process_that_reads_no_settings_takes_its_domains_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSLOOP_INCIDENTS__DOMAINS", '{"*": "{0}"}')
    know_domains()
    monkeypatch.setenv("OPSLOOP_INCIDENTS__DOMAINS", "{}")
    know_domains()
    assert domain_of("shop/cart/0") == "shop"


def test_a_safety_scope_in_two_domains_is_refused_with_an_example(file: Path) -> None:
    file.write_text("[incidents.domains]\n'*' = '{0}'\n[safety.limit_scopes]\n'web-*' = 'web'")
    with pytest.raises(UserError, match="counts web-a and web-b together as 'web'"):
        load(file, {})
    file.write_text("[incidents.domains]\n'web-*' = 'web'\n[safety.limit_scopes]\n'web-*' = 'all'\n'shop/db*' = 'db'")
    load(file, {})


def test_a_variable_of_the_environment_with_a_wrong_name_is_told_with_the_right_one(file: Path) -> None:
    file.write_text("")
    with pytest.raises(UserError, match=r"Did you mean per_target\?"):
        load(file, {"OPSLOOP_SAFETY__PER_TARGT": "1"})


def test_a_number_out_of_bounds_is_told_with_the_bound_and_without_a_list(file: Path) -> None:
    file.write_text("[safety]\nquorum = 10")
    with pytest.raises(UserError, match="`int` <= 9") as error:
        load(file, {})
    assert "takes" not in str(error.value)


def test_a_mode_that_does_not_exist_is_told_with_those_that_do_not_act_silently(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Invalid enum value 'bold'"):
        load(environment={}, mode="bold")


@pytest.mark.parametrize("what", ["missing", "a folder", "no text"])
def test_a_file_that_cannot_be_read_is_told_without_a_traceback(tmp_path: Path, what: str) -> None:
    file = tmp_path / "some.toml"
    if what == "a folder":
        file.mkdir()
    if what == "no text":
        file.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"some\.toml"):
        load(environment={"OPSLOOP_CONFIG": str(file)})


def test_home_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSLOOP_HOME", str(tmp_path))
    assert home() == tmp_path
    monkeypatch.setenv("OPSLOOP_HOME", "")
    assert home() == Path.home() / ".opsloop"
