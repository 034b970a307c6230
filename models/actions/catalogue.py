"""The catalogue of actions, as data: those shipped, and those added by settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from models.actions.base import Action, Parameter, Verification, catalogue

_STEPS: Final = Parameter(
    name="replicas", kind="integer", what="how many replicas", minimum=1, maximum=3, default="1"
)  # fmt: skip

SHIPPED: Final[Mapping[str, Action]] = catalogue((
    Action(
        name="restart_service",
        what="stop a process, by force when it does not answer, and start it again; of a service, one by one",
        when_to_use="the process is gone, does not answer, keeps memory, or its state in memory is bad",
        when_not_to_use="load or configuration is the cause: it comes back as it was, minus what it had cached",
        preconditions=("the process is known to its supervisor",),
        targets=("instance", "service"),
        verification=Verification("the process answers and the symptom stays away", hold_s=3.0),
        cooldown_s=10.0,
        blast_radius=1,
        cost=0.0,
        risk="low",
        actuators=("supervisor",),
    ),
    Action(
        name="scale_out",
        what="start more replicas of a service",
        when_to_use="every slot of the service is busy, requests queue, and there are more of them than usual",
        when_not_to_use="it is slow at an ordinary rate of requests: more of the same will be as slow",
        preconditions=("there are fewer replicas than the ceiling",),
        targets=("service",),
        parameters=(_STEPS,),
        inverse="scale_in",
        verification=Verification("the new replicas answer, and queues and utilization have fallen", hold_s=3.0),
        cooldown_s=10.0,
        blast_radius=1,
        cost=1.0,
        risk="low",
        actuators=("supervisor",),
    ),
    Action(
        name="scale_in",
        what="stop the newest replicas of a service, after their callers have left them",
        when_to_use="there are more replicas than the load has needed for a while",
        when_not_to_use="an incident is open on the service, or one replica less could not carry the load",
        preconditions=("there are more replicas than the floor",),
        targets=("service",),
        parameters=(_STEPS,),
        inverse="scale_out",
        verification=Verification("utilization of the replicas that stay is ordinary", hold_s=10.0),
        cooldown_s=30.0,
        blast_radius=1,
        cost=-1.0,
        risk="medium",
        actuators=("supervisor",),
    ),
    Action(
        name="rollback_config",
        what="return a service to the configuration it had before",
        when_to_use="it became slow or failed soon after a new configuration",
        when_not_to_use="the configuration has not changed since it was well",
        preconditions=("there is an earlier revision",),
        targets=("service",),
        parameters=(
            Parameter(name="revision", kind="text", what="the one before, unless given", pattern=r"[1-9]\d{0,5}"),
        ),
        inverse="rollback_config",  # back to the revision that was replaced
        verification=Verification("every replica has loaded the revision and the symptom stays away", hold_s=3.0),
        cooldown_s=10.0,
        blast_radius=1,
        cost=0.0,
        risk="low",
        actuators=("supervisor",),
    ),
))  # fmt: skip
_all: Final = dict(SHIPPED)

ACTIONS: Final[Mapping[str, Action]] = MappingProxyType(_all)


def add(actions: Iterable[Action]) -> None:
    """Add actions from settings to `ACTIONS`. They replace those added before.

    Call it before the first worker of the process starts: every worker of a cluster needs the same actions.

    Raises:
        ValueError: an action has a fault, or has the name of another; the text lists every fault; nothing changes.
    """
    found = catalogue((*SHIPPED.values(), *actions))
    _all.update(found)
    for name in _all.keys() - found.keys():  # last, so that a kept action is never missing
        del _all[name]
