"""What reviewers say of what they see: honest ones, ten ways to deviate, and coalitions. Knows no ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from omnitensor.protocol.reviews import ItemScore

NOISE = 10.0
"""Standard deviation of what an honest reviewer sees of a criterion, in points: it is right about 85 % of items."""


@dataclass(frozen=True)
class Thing:
    """An item as it really is: what each criterion deserves, who handed it in, and whether it is gold."""

    text: str
    qualities: tuple[int, int, int]
    gold: bool = False
    spam: bool = False

    @property
    def bits(self) -> int:
        """Which criteria pass: 1, 2, 4."""
        return sum(1 << place for place, quality in enumerate(self.qualities) if quality >= 60)

    @property
    def good(self) -> bool:
        return self.bits == 7


def make_thing(text: str, chance: Random, good: bool, *, gold: bool = False) -> Thing:
    """Good items deserve 63 or more in all criteria; bad ones 57 or less in one or more of them."""
    base = chance.uniform(65, 96)
    qualities = [min(99.0, max(63.0, base + chance.gauss(0, 4))) for _ in range(3)]
    if not good:
        failing = chance.sample(range(3), chance.choice((1, 2, 3, 3)))
        low = chance.uniform(20, 55)
        for place in failing:
            qualities[place] = min(57.0, max(2.0, low + chance.gauss(0, 4)))
    first, second, third = (round(quality) for quality in qualities)
    return Thing(text, (first, second, third), gold=gold)


@dataclass
class Past:
    """What everybody may know: reports that were revealed before."""

    latest: list[ItemScore] = field(default_factory=list)


Mind = Callable[[Thing, Random, Past], ItemScore]


def honest(thing: Thing, chance: Random, past: Past) -> ItemScore:
    """Looks at every criterion."""
    return seen(thing, chance, NOISE)


def seen(thing: Thing, chance: Random, noise: float, shift: int = 0) -> ItemScore:
    first, second, third = (
        max(0, min(100, round(quality + shift + chance.gauss(0, noise)))) for quality in thing.qualities
    )
    return ItemScore(first, second, third)


def lenient(thing: Thing, chance: Random, past: Past) -> ItemScore:
    return seen(thing, chance, NOISE, 10)


def harsh(thing: Thing, chance: Random, past: Past) -> ItemScore:
    return seen(thing, chance, NOISE, -10)


def extreme(thing: Thing, chance: Random, past: Past) -> ItemScore:
    """0 or 100, by what it sees."""
    first, second, third = (100 if score >= 60 else 0 for score in seen(thing, chance, NOISE).criteria)
    return ItemScore(first, second, third)


def one_criterion(thing: Thing, chance: Random, past: Past) -> ItemScore:
    """Looks at completeness, and says the same of the others."""
    score = seen(thing, chance, NOISE).completeness
    return ItemScore(score, score, score)


def half_effort(thing: Thing, chance: Random, past: Past) -> ItemScore:
    """Looks at every other item, and guesses the others."""
    return honest(thing, chance, past) if chance.random() < 0.5 else random_score(thing, chance, past)


def copies(thing: Thing, chance: Random, past: Past) -> ItemScore:
    """Says what somebody said before: of this item nobody has said anything."""
    return chance.choice(past.latest) if past.latest else random_score(thing, chance, past)


def always_accept(thing: Thing, chance: Random, past: Past) -> ItemScore:
    return ItemScore(80, 80, 80)


def always_reject(thing: Thing, chance: Random, past: Past) -> ItemScore:
    return ItemScore(30, 30, 30)


def random_score(thing: Thing, chance: Random, past: Past) -> ItemScore:
    return ItemScore(chance.randrange(101), chance.randrange(101), chance.randrange(101))


def gold_aware(thing: Thing, chance: Random, past: Past) -> ItemScore:
    """Looks at gold alone, and accepts the rest."""
    return honest(thing, chance, past) if thing.gold else always_accept(thing, chance, past)


DEVIATIONS: dict[str, Mind] = {
    "lenient": lenient,
    "harsh": harsh,
    "extreme": extreme,
    "one_criterion": one_criterion,
    "half_effort": half_effort,
    "gold_aware": gold_aware,
    "copies": copies,
    "always_accept": always_accept,
    "always_reject": always_reject,
    "random": random_score,
}
"""A lone one of them sits among honest reviewers."""


def shared_pattern(thing: Thing, chance: Random, past: Past) -> ItemScore:
    """Says what the coalition agreed on for this item, which nobody else can know."""
    first, second, third = (Random(f"{thing.text}/{place}").choice((20, 90)) for place in range(3))
    return ItemScore(first, second, third)


def own_spam(thing: Thing, chance: Random, past: Past) -> ItemScore:
    """Honest but for the coalition's own spam."""
    return ItemScore(85, 85, 85) if thing.spam else honest(thing, chance, past)
