"""Trust: what confidence was worth, and what has earned to act alone.

Each tier promises a share of actions that help, and bets are made against the promise: wealth that no honest tier could
have won says that it is broken (testing by betting, Shafer 2021). A bet is begun anew at every outcome with a weight of
1 / t(t+1), so that a long good past does not hide a bad present; the weights sum to 1, so that a tier that keeps its
promise is ever called broken with a probability of at most ALPHA, however long it is watched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from models.decision.outcomes import Outcomes
from models.keyed import KeyedState, Table, table
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

PROMISES: Final = {"lead": 0.70, "automatic": 0.85, "autonomous": 0.95}  # shares that help; a person is promised none
EARNED: Final = 0.85  # the share that a class must have shown to be better than
ALPHA: Final = 0.01
KEPT: Final = 5_000
ENDED_KEPT: Final = 50  # withdrawals remembered of one class
WORDS: Final = 3  # slashes in the name of a class
CHECK_MS: Final = 1_000  # so often it is looked for what has earned a promotion


class Standing(msgspec.Struct, frozen=True):
    """Outcomes of one tier or class, and the wealth of the bets on them."""

    count: Count = 0
    helped: Count = 0
    against: tuple[float, ...] = ()  # wealth won against its promise, a bet each
    for_: tuple[float, ...] = ()  # won against the doubt that it is better than EARNED
    broken: Instant = 0  # when its promise was found broken; 0: it holds

    @property
    def told(self) -> str:
        return f"{self.helped} of {self.count} helped"

    @property
    def earned(self) -> bool:
        """Whether it was shown to be better than EARNED."""
        return not self.broken and bool(self.for_) and sum(self.for_) / len(self.for_) >= 1.0 / ALPHA

    def counted(self, helped: bool) -> Standing:
        """This with one more outcome on which nothing was promised."""
        return msgspec.structs.replace(self, count=self.count + 1, helped=self.helped + helped)

    def taken(self, helped: bool, promised: float, now: Instant) -> Standing:
        """This with one more outcome."""
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
    """The wealth of bets on rates that are not the promised one, after an outcome; `fresh` is put in before it."""
    return tuple(
        min((w + fresh) * (rate / promised if helped else (1.0 - rate) / (1.0 - promised)), 1e12)
        for w, rate in zip(wealth, rates, strict=True)
    )


class Aim(msgspec.Struct, frozen=True):
    """What an outcome will count for."""

    tier: str  # SYSTEM/TIER
    group: str  # SYSTEM/ACTION/KIND/ENVIRONMENT


class Grant(msgspec.Struct, frozen=True):
    """The word that counts about a class or tier."""

    ts: Instant = 0  # by its author's clock, of a withdrawal at most the time of arrival
    good: bool = False  # whether it may act alone
    by: str = ""
    newest: Instant = 0  # of all words that allowed it: an older one is not a new word
    withdrawn: tuple[Instant, ...] = ()  # authors' times of withdrawals: a repeat of an ended one changes nothing


class Asked(msgspec.Struct, frozen=True):
    """A promotion that was proposed."""

    tries: Count
    next: Instant  # not again before


def _system(name: str, _row: object) -> str:
    return system_of(name)


class Trust(KeyedState):
    """The standing of tiers and classes of action, by system. A part of the gate's state."""

    outcomes: Outcomes[Aim] = msgspec.field(default_factory=Outcomes)
    standing: Table[Standing] = table(KEPT, domain=_system)
    grants: Table[Grant] = table(KEPT)  # by class or tier
    asked: Table[Asked] = table(KEPT, domain=_system)  # by class
    checked: Instant = 0

    def see(self, record: Record, settings: SafetySettings, now: Instant) -> None:
        """Take in what was done and what became of it."""
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
        else:  # what a person was asked about: counted, and promised nothing
            self._count(aimed.tier, helped)
        if promised >= EARNED:  # what was unsure from the beginning says nothing of the rest
            self._take(aimed.group, helped, EARNED, now)

    def set(self, setting: Setting, keyring: Keyring, arrived: Instant) -> None:
        """Take a person's word that a class may act alone, or not any more, or that a tier is trusted again.

        Words count in the order of the log: a withdrawal always, also when the clock of its author is slow or that of
        an earlier author was fast. A grant, which somebody could send again, must be newer than what it changes.

        Raises:
            Refused: not signed by a lead or an admin, nor by a worker on the votes of leads; of a grant also
                clock_ahead, or outdated when it was signed before the withdrawal that it would end.
        """
        if not setting.name.startswith(AUTONOMY):
            return
        name, good = setting.name.removeprefix(AUTONOMY), setting.value == GRANTED
        known = self.grants.get(name, Grant())
        if setting.ts <= known.newest if good else known.good and setting.ts in known.withdrawn:
            return  # said before
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
        """When it is to be looked again what has earned a promotion; None: nothing can."""
        return self.checked + CHECK_MS if settings.earn and self.standing else None

    def promotions(self, settings: SafetySettings, now: Instant) -> Iterator[Proposal]:
        """A proposal for each class that has earned to act alone and does not; again when one has led to nothing.

        A class from which somebody has taken its autonomy is left alone for as long.
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
        """Why a person is asked although the mode would not ask; empty: no reason."""
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
        """Whether the newest word about a class is that it may act alone."""
        return self.grants.get(group, Grant()).good

    def ripe(self, group: str) -> bool:
        """Whether a class has earned to act alone, and does not."""
        return self.standing.get(group, Standing()).earned and not self.granted(group)

    def _count(self, name: str, helped: bool) -> None:
        self.standing[name] = self.standing.get(name, Standing()).counted(helped)

    def _take(self, name: str, helped: bool, promised: float, now: Instant) -> None:
        known = self.standing.get(name, Standing()).taken(helped, promised, now)
        if known.broken == now:  # what was granted before it broke does not count any more
            self.grants[name] = msgspec.structs.replace(self.grants.get(name, Grant()), ts=now, good=False)
        self.standing[name] = known


def _follow(known: Grant, setting: Setting, good: bool, arrived: Instant) -> Grant:
    """What counts after one more word."""
    if good:
        return Grant(setting.ts, True, setting.by, setting.ts, known.withdrawn)
    ts = max(min(setting.ts, arrived), 0 if known.good else known.ts)
    return Grant(ts, False, setting.by, known.newest, (*known.withdrawn, setting.ts)[-ENDED_KEPT:])


def aim(proposal: Proposal, settings: SafetySettings) -> Aim:
    """The tier and the class of a proposal."""
    system = system_of(proposal.target)
    target = target_facts(proposal.target, settings.environments)
    return Aim(
        f"{system}/{tier(proposal.confidence)}", f"{system}/{proposal.action}/{target.kind}/{target.environment}"
    )
