"""Trust: tests whether tiers keep their promised success rate, and which classes have earned to act without a person.

Each tier promises a share of actions that help, and bets are made against the promise. Wealth that is implausible for
a tier that keeps its promise shows that it is broken (testing by betting, Shafer 2021). A new bet begins at every
outcome t with weight 1 / t(t+1), so that a long good past does not hide a bad present. The weights sum to 1, so a tier
that keeps its promise is ever called broken with a probability of at most ALPHA, however long it is tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from models.decision.outcomes import Outcomes
from models.keyed import KeyedState, Table, by_domain, table
from models.policy.facts import target_facts
from models.safety.modes import tier
from models.safety.promotion import AUTONOMY, GRANTED, check_grant, promotion
from models.safety.roles import may
from models.safety.settings import SafetySettings
from models.safety.signing import Keyring, Refused, check_clock, setter
from topics.decisions import Decision, DecisionState
from topics.proposals import Proposal
from topics.settings import Setting
from topics.spec import Count, Instant, Record, later, system_of
from topics.verdicts import Verdict

PROMISES: Final = {"lead": 0.70, "automatic": 0.85, "autonomous": 0.95}  # success rates; `person` promises none
EARNED: Final = 0.85  # success rate that a class must be shown to exceed
ALPHA: Final = 0.01
KEPT: Final = 5_000
ENDED_KEPT: Final = 50  # withdrawals remembered per class
WORDS: Final = 3  # number of slashes in the name of a class
CHECK_MS: Final = 1_000  # period of the check for earned promotions


class Standing(msgspec.Struct, frozen=True):
    """Outcomes of one tier or class, and the wealth of the bets on them."""

    count: Count = 0
    helped: Count = 0
    against: tuple[float, ...] = ()  # wealth of the bets against its promise
    for_: tuple[float, ...] = ()  # wealth of the bets against a rate of at most EARNED
    broken: Instant = 0  # when its promise was found broken; 0: never

    @property
    def told(self) -> str:
        """The outcomes as text, for reasons."""
        return f"{self.helped} of {self.count} helped"

    @property
    def earned(self) -> bool:
        """Whether its success rate was shown to exceed EARNED, at level ALPHA."""
        return not self.broken and bool(self.for_) and sum(self.for_) / len(self.for_) >= 1.0 / ALPHA

    def counted(self, helped: bool) -> Standing:
        """Return a copy with one more outcome, without a bet."""
        return msgspec.structs.replace(self, count=self.count + 1, helped=self.helped + helped)

    def taken(self, helped: bool, promised: float, now: Instant) -> Standing:
        """Return a copy with one more outcome and its bets. promised: the promised success rate, 0..1."""
        fresh = 1.0 / ((self.count + 1) * (self.count + 2))
        worse = [promised * share for share in (0.2, 0.5, 0.8, 0.92)]
        against = _bet(self.against or [0.0] * len(worse), worse, promised, helped, fresh)
        better = [EARNED + (1.0 - EARNED) * share for share in (0.4, 0.7, 0.9)]
        for_ = _bet(self.for_ or [1.0] * len(better), better, EARNED, helped, 0.0)
        broken = now if not self.broken and sum(against) / len(against) >= 1.0 / ALPHA else self.broken
        return msgspec.structs.replace(self.counted(helped), against=against, for_=for_, broken=broken)


def _bet(
    wealth: Sequence[float], rates: Sequence[float], promised: float, helped: bool, fresh: float
) -> tuple[float, ...]:
    """Return the wealth of bets on `rates` instead of `promised` after an outcome. fresh: wealth added before it."""
    return tuple(
        min((w + fresh) * (rate / promised if helped else (1.0 - rate) / (1.0 - promised)), 1e12)
        for w, rate in zip(wealth, rates, strict=True)
    )


class Aim(msgspec.Struct, frozen=True):
    """The tier and the class for which an outcome counts."""

    tier: str  # SYSTEM/TIER
    group: str  # SYSTEM/ACTION/KIND/ENVIRONMENT


class Grant(msgspec.Struct, frozen=True):
    """The newest grant or withdrawal for a class or tier."""

    ts: Instant = 0  # by its author's clock; of a withdrawal at most the time of arrival
    good: bool = False  # whether it may act without a person
    by: str = ""
    newest: Instant = 0  # time of the newest grant: an older one is a repeat
    withdrawn: tuple[Instant, ...] = ()  # author's time of each withdrawal: a repeat changes nothing


class Asked(msgspec.Struct, frozen=True):
    """The proposals of one promotion."""

    tries: Count
    next: Instant  # earliest time of the next one


class Trust(KeyedState):
    """Outcomes and grants of tiers and classes of action, by system. Part of the gate's state."""

    outcomes: Outcomes[Aim] = msgspec.field(default_factory=Outcomes)
    standing: Table[Standing] = table(KEPT, domain=by_domain)
    grants: Table[Grant] = table(KEPT)  # class or tier → grant
    asked: Table[Asked] = table(KEPT, domain=by_domain)  # class → proposals of its promotion
    checked: Instant = 0

    def see(self, record: Record, settings: SafetySettings, now: Instant) -> None:
        """Process a dispatched decision or a verdict."""
        pair = None
        match record:
            case Decision(state=DecisionState.DISPATCHED):
                pair = self.outcomes.dispatched(record.id, aim(record.proposal, settings))
            case Verdict():
                pair = self.outcomes.verdict(record)
        if pair is None:
            return
        (aimed, helped) = pair
        promised = PROMISES.get(aimed.tier.rpartition("/")[2], 0.0)
        if promised:
            self._take(aimed.tier, helped, promised, now)
        else:  # a person was asked: counted without a bet
            self._count(aimed.tier, helped)
        if promised >= EARNED:  # lower confidences are no evidence on the class
            self._take(aimed.group, helped, EARNED, now)

    def set(self, setting: Setting, keyring: Keyring, arrived: Instant) -> None:
        """Apply a person's setting: a class may act without a person, or no longer, or a tier is trusted again.

        Settings count in the order of the log. A withdrawal always counts, even when its author's clock is slow or that
        of an earlier author was fast. A grant must be newer than what it changes: an old one could be sent again.

        Raises:
            Refused: not signed by a lead or an admin, nor by a worker with the votes of leads; for a grant also
                clock_ahead, or outdated when it was signed before the withdrawal that it would end.
        """
        if not setting.name.startswith(AUTONOMY):
            return
        name, good = setting.name.removeprefix(AUTONOMY), setting.value == GRANTED
        known = self.grants.get(name, Grant())
        if setting.ts <= known.newest if good else known.good and setting.ts in known.withdrawn:
            return  # a repeat
        if not may(setter(setting, keyring).roles, "ratify"):
            check_grant(setting, keyring)
        if good:
            check_clock(setting.ts, arrived)
            if setting.ts <= known.ts:
                raise Refused("outdated", f"{known.by} has withdrawn {name} since {setting.by} signed it")
        self.grants[name] = _follow(known, setting, good, arrived)
        standing = self.standing.get(name)
        if standing is not None and good and setting.ts > standing.broken > 0:
            self.standing[name] = Standing()

    def next_check(self, settings: SafetySettings) -> Instant | None:
        """Return when to check again for earned promotions; None: no class can earn one."""
        return self.checked + CHECK_MS if settings.earn and self.standing else None

    def promotions(self, settings: SafetySettings, now: Instant) -> Iterator[Proposal]:
        """Yield a proposal for each class that has earned to act without a person and may not yet.

        A class gets the next one after `promotion_ms`, also after its autonomy was withdrawn.
        """
        if not settings.earn or now - self.checked < CHECK_MS or not self.standing:
            return
        self.checked = now
        for name, known in self.standing.items():
            before = self.asked.get(name, Asked(0, 0))
            grant = self.grants.get(name, Grant())
            since = grant.ts
            if grant.good or name.count("/") != WORDS or not known.earned:
                continue
            if now >= max(before.next, since + settings.promotion_ms if since else 0):
                self.asked[name] = Asked(before.tries + 1, later(now, settings.promotion_ms))
                yield promotion(name, known.told, before.tries, now)

    def objection(self, proposal: Proposal, settings: SafetySettings) -> str:
        """Return why a person must approve although the mode would act; empty: no reason."""
        aimed = aim(proposal, settings)
        level = self.standing.get(aimed.tier)
        if level is not None and level.broken:
            name = aimed.tier.rpartition("/")[2]
            return f"tier {name} has broken its promise of {PROMISES[name]} ({level.told}): demoted to person"
        group = self.standing.get(aimed.group, Standing())
        if group.broken:
            return f"{aimed.group} helps less than {EARNED} of the time ({group.told}): it has lost its autonomy"
        if not settings.earn or (group.earned and self.granted(aimed.group)):
            return ""
        if group.earned:
            return f"{aimed.group} has earned to act alone ({group.told}), and no lead has granted it yet"
        return f"{aimed.group} has not earned to act alone ({group.told})"

    def granted(self, group: str) -> bool:
        """Whether the newest setting for a class is a grant."""
        return self.grants.get(group, Grant()).good

    def ripe(self, group: str) -> bool:
        """Whether a class has earned to act without a person, and may not yet."""
        return self.standing.get(group, Standing()).earned and not self.granted(group)

    def _count(self, name: str, helped: bool) -> None:
        self.standing[name] = self.standing.get(name, Standing()).counted(helped)

    def _take(self, name: str, helped: bool, promised: float, now: Instant) -> None:
        known = self.standing.get(name, Standing()).taken(helped, promised, now)
        if known.broken == now:  # a broken promise ends earlier grants
            self.grants[name] = msgspec.structs.replace(self.grants.get(name, Grant()), ts=now, good=False)
        self.standing[name] = known


def _follow(known: Grant, setting: Setting, good: bool, arrived: Instant) -> Grant:
    """Return the grant after one more setting."""
    if good:
        return Grant(setting.ts, True, setting.by, setting.ts, known.withdrawn)
    ts = max(min(setting.ts, arrived), 0 if known.good else known.ts)
    return Grant(ts, False, setting.by, known.newest, (*known.withdrawn, setting.ts)[-ENDED_KEPT:])


def aim(proposal: Proposal, settings: SafetySettings) -> Aim:
    """Return the tier and the class of a proposal."""
    system = system_of(proposal.target)
    target = target_facts(proposal.target, settings.environments)
    return Aim(
        f"{system}/{tier(proposal.confidence)}", f"{system}/{proposal.action}/{target.kind}/{target.environment}"
    )
