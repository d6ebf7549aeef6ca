"""An independent model of delegation and rewards in exact fractions, written from docs/specification/staking.md.

Shares no code with the ledger. It has no shares, no index and no scale: what belongs to whom is a fraction, and a slash walks
over everybody. Only what the specification says of a validator as a whole is rounded: what a slash takes, and its reward.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import floor

YEAR_MS = Fraction(36525 * 24 * 3600 * 1000, 100)


def fine(value: Fraction) -> Fraction:
    """To 2**-80 of a unit: fractions of years would be thousands of digits long."""
    return Fraction(round(value * 2**80), 2**80)


@dataclass
class Lot:
    """Stake that came by redelegation: what it owes its source is ``1 - left`` of it."""

    amount: Fraction
    source: str
    lands: int
    left: Fraction = Fraction(1)


@dataclass
class Held:
    """What an account delegates to a validator. ``joining`` of it came in the epoch ``joined`` and earns from the next on."""

    amount: Fraction = Fraction(0)
    joining: Fraction = Fraction(0)
    joined: int = -1
    lots: list[Lot] = field(default_factory=list)

    @property
    def free(self) -> Fraction:
        return self.amount - sum((lot.amount for lot in self.lots), Fraction(0))

    def active(self, epoch: int) -> Fraction:
        return self.amount - (self.joining if self.joined == epoch else 0)

    def come(self, amount: int, epoch: int) -> None:
        self.joining = (self.joining if self.joined == epoch else Fraction(0)) + amount
        self.joined = epoch
        self.amount += amount

    def go(self, amount: Fraction) -> None:
        """What came last goes first."""
        self.amount -= amount
        self.joining -= min(self.joining, amount)


@dataclass
class Leaving:
    delegator: str
    amount: Fraction
    due: int
    lot: Lot | None


@dataclass
class Pool:
    own: int
    commission: int = 0
    delegated: int = 0
    held: dict[str, Held] = field(default_factory=dict)
    leaving: list[Leaving] = field(default_factory=list)
    began: tuple[int, int, int] = (0, 0, 0)
    """Own and delegated stake and commission when the epoch began."""

    def of(self, who: str) -> Held:
        return self.held.setdefault(who, Held())


class Oracle:
    def __init__(self, own: dict[str, int]) -> None:
        self.pools = {name: Pool(stake) for name, stake in own.items()}
        self.earned: dict[tuple[str, str], Fraction] = {}
        """Rewards by delegator and validator, ever."""
        self.returned: dict[str, Fraction] = {}
        self.begin_epoch()

    def begin_epoch(self) -> None:
        for pool in self.pools.values():
            pool.began = (pool.own, pool.delegated, pool.commission)

    # -- orders, after they were taken

    def visit(self, who: str, name: str) -> None:
        """What redelegations owe is taken now."""
        held = self.pools[name].of(who)
        for lot in held.lots:
            cut = fine(lot.amount * (1 - lot.left))
            lot.amount -= cut
            lot.left = Fraction(1)
            held.go(cut)
            self.pools[name].delegated -= floor(cut)

    def delegate(self, who: str, name: str, amount: int, epoch: int) -> None:
        self.visit(who, name)
        self.pools[name].delegated += amount
        self.pools[name].of(who).come(amount, epoch)

    def undelegate(self, who: str, name: str, amount: int, everything: bool, due: int) -> None:
        """``amount`` as the ledger says; where everything left, the rest of it is nobody's."""
        self.visit(who, name)
        pool = self.pools[name]
        held = pool.of(who)
        pool.delegated -= amount
        exact = held.amount if everything else Fraction(amount)
        rest = exact - min(held.free, exact)
        pool.leaving.append(Leaving(who, exact - rest, due, None))
        for lot in held.lots:
            piece = min(rest, lot.amount)
            lot.amount -= piece
            rest -= piece
            pool.leaving.append(Leaving(who, piece, due, Lot(piece, lot.source, due, lot.left)))
        held.go(exact)

    def redelegate(
        self, who: str, source: str, target: str, amount: int, everything: bool, epoch: int, due: int
    ) -> None:
        self.visit(who, source)
        self.visit(who, target)
        held = self.pools[source].of(who)
        held.go(held.free if everything else Fraction(amount))
        self.pools[source].delegated -= amount
        self.pools[target].delegated += amount
        self.pools[target].of(who).come(amount, epoch)
        self.pools[target].of(who).lots.append(Lot(Fraction(amount), source, due))

    def slash(self, name: str, bps: int) -> None:
        pool, left = self.pools[name], 1 - Fraction(bps, 10_000)
        pool.own -= pool.own * bps // 10_000
        cut = pool.delegated * bps // 10_000
        share = Fraction(pool.delegated - cut, pool.delegated) if pool.delegated else Fraction(1)
        pool.delegated -= cut
        for held in pool.held.values():
            held.amount = fine(held.amount * share)
            held.joining = min(held.amount, fine(held.joining * share))
            for lot in held.lots:
                lot.amount = fine(lot.amount * share)
        for leaving in pool.leaving:
            leaving.amount = fine(leaving.amount * left)
        for other in self.pools.values():
            lots = [lot for held in other.held.values() for lot in held.lots]
            lots += [leaving.lot for leaving in other.leaving if leaving.lot]
            for lot in lots:
                if lot.source == name:
                    lot.left *= left

    def mature(self, height: int) -> None:
        """At the end of a block: what is due is paid, redelegations land."""
        for name, pool in self.pools.items():
            for leaving in [each for each in pool.leaving if each.due <= height]:
                pool.leaving.remove(leaving)
                paid = leaving.amount * (leaving.lot.left if leaving.lot else 1)
                self.returned[leaving.delegator] = self.returned.get(leaving.delegator, Fraction(0)) + paid
            for who, held in pool.held.items():
                if any(lot.lands <= height for lot in held.lots):
                    self.visit(who, name)
                    held.lots = [lot for lot in held.lots if lot.lands > height]

    # -- rewards

    def reward(
        self, name: str, epoch: int, rates: dict[str, int], epoch_ms: int, measures: tuple[int, int, int]
    ) -> Fraction:
        """The closed formula: what the validator's stake earns in the epoch, not rounded."""
        own, delegated = self.earning(name, epoch)
        attendance, points, due = measures
        rate = Fraction(rates["base"], 10_000)
        rate += Fraction(rates["votes"], 10_000) * Fraction(attendance, 10_000)
        if due:
            rate += Fraction(rates["reviews"], 10_000) * Fraction(points, 10_000 * due)
        return (own + delegated) * rate * epoch_ms / YEAR_MS

    def earning(self, name: str, epoch: int) -> tuple[Fraction, Fraction]:
        pool = self.pools[name]
        active = sum((held.active(epoch) for held in pool.held.values()), Fraction(0))
        return Fraction(min(pool.began[0], pool.own)), min(Fraction(pool.began[1]), active)

    def share_out(self, name: str, epoch: int, delegators: int) -> None:
        """Divides what came to a validator's delegators among those whose stake was there."""
        active = {who: held.active(epoch) for who, held in self.pools[name].held.items()}
        total = sum(active.values())
        for who, amount in active.items():
            if amount:
                key = (who, name)
                self.earned[key] = self.earned.get(key, Fraction(0)) + fine(delegators * amount / total)
