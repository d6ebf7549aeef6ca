"""Which receipts of work stand in a block where more wait than it may hold: workers take turns. Pure; reads no state.

A block takes few receipts, since every validator judges each. By price and age alone a fast worker, or one that pays tips, would
have all of them, and whoever computes less would earn and lead nothing, whatever it computed. So each worker's first receipt
comes before anybody's second, and so on; where even the first ones are too many, whoever had a turn last waits longest. And work
for jobs comes before synthetic work, which is there when nothing else is.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from heapq import nsmallest
from typing import NamedTuple, TypeVar

Who = TypeVar("Who", bound=Hashable)


class Waiting(NamedTuple):
    """A receipt that waits for a block."""

    synthetic: bool
    price: int
    """Tip a unit of weight, in whatever unit."""
    arrived: int
    """A number that grows with each that comes; no two have the same."""


def turns(queues: Mapping[Who, Sequence[Waiting]], served: Mapping[Who, int], most: int) -> dict[Who, int]:
    """How many receipts of each worker a block takes, of those that it has waiting from the first on; ``most`` of all together.

    ``served`` is the height of the last block with one of the worker's, for those who had any. Whose turn it is goes by: jobs
    before synthetic work, then how many of the worker's come before it, then whose last turn is longer ago, then the higher
    price, then the longer wait. A worker's own follow one another, so what waits behind synthetic work ranks with it.
    """
    ranked = []
    for who, queue in queues.items():
        synthetic = False
        for place, one in enumerate(queue[:most]):
            synthetic = synthetic or one.synthetic
            ranked.append(((synthetic, place, served.get(who, -1), -one.price, one.arrived), who))
    taken = Counter(who for _, who in nsmallest(most, ranked, key=lambda each: each[0]))
    return {who: taken[who] for who in queues}
