"""One conformance suite for every action of the catalogue."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.actions.base import Action, Parameter, catalogue, flaws
from models.actions.catalogue import ACTIONS, SHIPPED, add


@pytest.fixture(params=sorted(ACTIONS))
def action(request: pytest.FixtureRequest) -> Action:
    return ACTIONS[request.param]


def test_every_action_is_sound(action: Action) -> None:
    assert [flaw for flaw in flaws(ACTIONS.values()) if flaw.startswith(f"{action.name}:")] == []


def test_the_inverse_of_the_inverse_is_the_action(action: Action) -> None:
    if action.inverse:
        assert ACTIONS[ACTIONS[action.inverse].inverse] is action


def test_defaults_are_accepted_and_unknown_parameters_are_not(action: Action) -> None:
    defaults = {p.name: p.default for p in action.parameters if p.default is not None}
    assert action.objection(defaults) is None
    assert "no parameter" in (action.objection({"shell": "rm"}) or "")


@given(value=st.text(max_size=12))
def test_a_count_of_replicas_is_a_small_number_and_nothing_else(value: str) -> None:
    accepted = ACTIONS["scale_out"].objection({"replicas": value}) is None
    assert accepted == (value in {f"{'0' * zeros}{n}" for zeros in range(9) for n in (1, 2, 3)})


@given(value=st.text(max_size=12))
def test_a_revision_cannot_name_another_file(value: str) -> None:
    if ACTIONS["rollback_config"].objection({"revision": value}) is None:
        assert value.isascii()
        assert value.isdecimal()


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        ({"inverse": "nothing_such"}, "does not exist"),
        ({"inverse": "scale_in"}, "is not undone by it"),
        ({"when_not_to_use": ""}, "when_not_to_use is empty"),
        ({"cooldown_s": 0.0}, "must be positive"),
        ({"parameters": (Parameter(name="n", kind="integer", what="n", minimum=3, maximum=1),)}, "above the maximum"),
        ({"parameters": (Parameter(name="n", kind="text", what="n", pattern="("),)}, "does not compile"),
        ({"parameters": (Parameter(name="n", kind="text", what="n"),)}, "text without a pattern"),
    ],
)  # fmt: skip
def test_a_flawed_action_is_named_with_its_flaw(change: dict[str, object], flaw: str) -> None:
    wrong = msgspec.structs.replace(ACTIONS["restart_service"], **change)
    with pytest.raises(ValueError, match=flaw):
        catalogue([*(a for a in ACTIONS.values() if a.name != "restart_service"), wrong])


def test_two_actions_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="named twice"):
        catalogue([ACTIONS["restart_service"], ACTIONS["restart_service"]])


def test_actions_that_are_added_are_in_the_catalogue_until_others_are() -> None:
    new = msgspec.structs.replace(ACTIONS["restart_service"], name="restart_host")
    add([new])
    try:
        assert ACTIONS["restart_host"] is new
        flawed = msgspec.structs.replace(new, name="no_targets", targets=())
        with pytest.raises(ValueError, match="no_targets: targets is empty"):
            add([flawed])
        assert "restart_host" in ACTIONS, "what is refused changes nothing"
    finally:
        add([])
    assert ACTIONS == SHIPPED


def test_a_shipped_action_cannot_be_replaced() -> None:
    with pytest.raises(ValueError, match="restart_service: named twice"):
        add([msgspec.structs.replace(ACTIONS["restart_service"], cooldown_s=0.1)])
    assert ACTIONS == SHIPPED
