"""How well reviewers agree beyond chance: Krippendorff's alpha and Gwet's AC1, from what each unit was given. Pure.

A unit is an item in one round; its ratings are those of whoever reported, so units may have any number of them. All that the
coefficients need of a unit fits a few integers (`Unit`), so a campaign of any size is counted by kinds of units, estimates are
exact fractions, and no chance is drawn for an interval.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Final, NamedTuple

import msgspec

CONFIDENCE: Final = 0.95


class Unit(NamedTuple):
    """Ratings of one unit: how many, their sum, the sum of their squares. Bits are ratings 0 and 1."""

    ratings: int
    total: int
    squares: int

    @classmethod
    def of(cls, ratings: Sequence[int]) -> Unit:
        return cls(len(ratings), sum(ratings), sum(rating * rating for rating in ratings))


class Coefficient(msgspec.Struct, frozen=True):
    """A coefficient with its standard error and 95 % interval; None where it is not defined."""

    value: float | None
    error: float | None = None
    low: float | None = None
    high: float | None = None


class Sums(NamedTuple):
    """What alpha is made of: over units with two ratings or more, how many there are, and sums over all their ratings."""

    units: int
    ratings: int
    total: int
    squares: int
    inside: Fraction
    """Squared differences within units, each pair both ways, each unit's divided by its ratings less one."""

    def without(self, unit: Unit) -> Sums:
        return Sums(
            self.units - 1,
            self.ratings - unit.ratings,
            self.total - unit.total,
            self.squares - unit.squares,
            self.inside - _inside(unit),
        )


def alpha(units: Counter[Unit]) -> Coefficient:
    """Krippendorff's alpha by squared differences: interval alpha of scores, and nominal alpha of bits (for two values they are
    one). Units with fewer than two ratings have no pair and don't count. The interval is by the jackknife over units.

    Undefined (None) without two units, and where all ratings are the same.
    """
    kinds = {unit: times for unit, times in units.items() if unit.ratings >= 2}
    number = sum(kinds.values())
    sums = Sums(
        number,
        sum(unit.ratings * times for unit, times in kinds.items()),
        sum(unit.total * times for unit, times in kinds.items()),
        sum(unit.squares * times for unit, times in kinds.items()),
        sum((_inside(unit) * times for unit, times in kinds.items()), Fraction(0)),
    )
    value = _alpha_of(sums)
    if value is None or number < 2:
        return Coefficient(None)
    left_out = [(_alpha_of(sums.without(unit)), times) for unit, times in kinds.items()]
    if any(each is None for each, _ in left_out):
        return Coefficient(float(value))
    known = [(float(each or 0), times) for each, times in left_out]
    mean = math.fsum(each * times for each, times in known) / number
    spread = math.fsum((each - mean) ** 2 * times for each, times in known)
    return _with_interval(float(value), math.sqrt((number - 1) / number * spread), number - 1)


def ac1(units: Counter[Unit]) -> Coefficient:
    """Gwet's AC1 of bits for any number of reviewers, with his variance for chosen reviewers. Units with one rating count
    towards how common each bit is. Undefined (None) where no unit has two ratings.
    """
    kinds = {unit: times for unit, times in units.items() if unit.ratings >= 1}
    number = sum(kinds.values())
    paired = sum(times for unit, times in kinds.items() if unit.ratings >= 2)
    if paired == 0:
        return Coefficient(None)
    observed = sum((_same(unit) * times for unit, times in kinds.items()), Fraction(0)) / paired
    ones = (
        sum((Fraction(unit.total, unit.ratings) * times for unit, times in kinds.items()), Fraction(0))
        / number
    )
    chance = 2 * ones * (1 - ones)
    value = (observed - chance) / (1 - chance)
    if number < 2:
        return Coefficient(float(value))
    spread = Fraction(0)
    for unit, times in kinds.items():
        own = Fraction(0)
        if unit.ratings >= 2:
            own = Fraction(number, paired) * (_same(unit) - chance) / (1 - chance)
        share = Fraction(unit.total, unit.ratings)
        own_chance = share * (1 - ones) + (1 - share) * ones
        own -= 2 * (1 - value) * (own_chance - chance) / (1 - chance)
        spread += (own - value) ** 2 * times
    error = math.sqrt(spread / (number * (number - 1)))
    return _with_interval(float(value), error, number - 1)


def observed(units: Counter[Unit]) -> float | None:
    """Share of pairs of bits within units that are the same, each unit counting once; None without a pair."""
    kinds = {unit: times for unit, times in units.items() if unit.ratings >= 2}
    paired = sum(kinds.values())
    if paired == 0:
        return None
    return float(sum((_same(unit) * times for unit, times in kinds.items()), Fraction(0)) / paired)


def counted(ratings: Iterable[Sequence[int]]) -> Counter[Unit]:
    """Units by their kinds, from each unit's ratings."""
    return Counter(Unit.of(each) for each in ratings if each)


def _inside(unit: Unit) -> Fraction:
    return Fraction(2 * (unit.ratings * unit.squares - unit.total * unit.total), unit.ratings - 1)


def _alpha_of(sums: Sums) -> Fraction | None:
    """1 - observed / expected disagreement; None where nothing differs."""
    between = 2 * (sums.ratings * sums.squares - sums.total * sums.total)
    if between == 0:
        return None
    return 1 - (sums.ratings - 1) * sums.inside / between


def _same(unit: Unit) -> Fraction:
    """Share of a unit's pairs of bits that are the same; 0 without a pair."""
    if unit.ratings < 2:
        return Fraction(0)
    zeros = unit.ratings - unit.total
    same = unit.total * (unit.total - 1) + zeros * (zeros - 1)
    return Fraction(same, unit.ratings * (unit.ratings - 1))


def _with_interval(value: float, error: float, freedom: int) -> Coefficient:
    reach = t_quantile((1 + CONFIDENCE) / 2, freedom) * error
    return Coefficient(value, error, max(-1.0, value - reach), min(1.0, value + reach))


def t_quantile(share: float, freedom: int) -> float:
    """Student's t that a share (above 0.5) of the distribution lies below, to 12 digits."""
    assert 0.5 < share < 1 and freedom >= 1
    low, high = 0.0, 1.0
    while _t_below(high, freedom) < share:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        if _t_below(middle, freedom) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _t_below(t: float, freedom: int) -> float:
    """Share of Student's distribution below ``t`` (0 or above)."""
    return 1 - 0.5 * _beta_below(freedom / (freedom + t * t), freedom / 2, 0.5)


def _beta_below(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1 - front * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of the incomplete beta function, by Lentz's method."""
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    value = d
    for step in range(1, 10_000):
        even = step * (b - step) * x / ((a + 2 * step - 1) * (a + 2 * step))
        odd = -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1))
        for term in (even, odd):
            d = 1 + term * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + term / c
            c = c if abs(c) > tiny else tiny
            value *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return value
