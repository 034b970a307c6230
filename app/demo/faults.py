"""Faults that break the site. Each is real, and exactly one action remedies it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from app.clock import now_ms
from app.demo import plan
from app.demo.site import Site
from app.errors import UserError
from topics.spec import Instant

SURGE_S: Final = 90.0
SURGE_FACTOR: Final = 3.0


@dataclass(frozen=True, slots=True)
class Injection:
    """A fault that was injected."""

    fault: str
    service: str
    entity: str  # the broken entity: a replica or a whole service
    ts: Instant


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break a service."""

    what: str
    remedy: str  # the action that cures it
    default: str  # the service to break when none is named
    carry_out: Callable[[Site, str], str]  # (site, service) → the broken entity
    services: tuple[str, ...] = tuple(plan.CALLS)


def _signal(number: signal.Signals) -> Callable[[Site, str], str]:
    def carry_out(site: Site, service: str) -> str:
        for target in site.layout.replicas(service):
            pid = site.programs.pid(target.program)
            if pid:
                os.kill(pid, number)
                return target.entity
        raise UserError(f"no replica of {service} runs", "Wait until it was healed, or break another service.")

    return carry_out


def _slow(site: Site, service: str) -> str:
    good = site.layout.config(service, site.layout.pointer(service).revision)
    bad = msgspec.structs.replace(good, delay_ms=max(4 * good.delay_ms, 150.0))
    site.layout.roll_out(service, bad, "fault:slow", f"{service} got a new configuration")
    return plan.name(service)


def _surge(site: Site, service: str) -> str:
    revision = site.layout.pointer(plan.LOAD).revision
    calm = site.layout.traffic(revision)
    if calm.lasts_s:
        raise UserError("a surge is already on", f"It ends by itself {calm.lasts_s:.0f} s after it began.")
    rates = {**calm.rates, service: calm.rates[service] * SURGE_FACTOR}
    surge = msgspec.structs.replace(calm, rates=rates, lasts_s=SURGE_S, began=now_ms())
    site.layout.roll_out(plan.LOAD, surge, "fault:surge", "more visitors")
    return plan.name(service)


FAULTS: Final[dict[str, Fault]] = {
    "kill": Fault("the process is killed", "restart_service", "catalog", _signal(signal.SIGKILL)),
    "hang": Fault("the process stops answering", "restart_service", "cart", _signal(signal.SIGSTOP)),
    "leak": Fault("the process keeps memory, 10 MB/s", "restart_service", "orders", _signal(signal.SIGUSR2)),
    "errors": Fault("half of the data in memory is spoiled", "restart_service", "store", _signal(signal.SIGUSR1)),
    "slow": Fault("a bad configuration is rolled out", "rollback_config", "catalog", _slow),
    "surge": Fault(
        f"three times the visitors for {SURGE_S:.0f} s", "scale_out", "catalog", _surge, tuple(plan.TRAFFIC.rates)
    ),
}


def parse(text: str) -> tuple[str, str]:
    """Parse `kill:catalog`, or `kill` for the fault's default service.

    Raises:
        UserError: there is no such fault, or that service cannot have it.
    """
    fault, _, service = text.partition(":")
    if fault not in FAULTS:
        raise UserError(f"there is no fault {fault!r}", f"There are: {', '.join(FAULTS)}.")
    known = FAULTS[fault]
    service = service.removeprefix(f"{plan.SYSTEM}/") or known.default
    if service not in known.services:
        raise UserError(f"{fault} cannot befall {service!r}", f"It can befall: {', '.join(known.services)}.")
    return fault, service


def inject(site: Site, fault: str, service: str = "") -> Injection:
    """Break a service of a running site. Raises UserError when the fault or the service is unknown."""
    fault, service = parse(f"{fault}:{service}")
    entity = FAULTS[fault].carry_out(site, service)
    return Injection(fault, service, entity, now_ms())
