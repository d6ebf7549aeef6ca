"""Drawing seats by weight, without replacement, from a seed. Knows weights and hashes; nothing of who may sit."""

from collections.abc import Mapping

from omnitensor.protocol import hashing
from omnitensor.protocol.codec import encode
from omnitensor.protocol.types import Address, BatchId, Hash


def seats_seed(beacon: Hash, batch: BatchId, round_: int, attempt: int) -> Hash:
    """Seed of one draw: from a beacon that did not exist when the batch's content was frozen."""
    return hashing.SEATS(beacon, encode((int(batch), int(round_), int(attempt))))


def draw(seed: Hash, weights: Mapping[Address, int], seats: int) -> list[Address]:
    """Up to ``seats`` addresses in the order drawn, each by its weight among those still there; weight 0 never sits.

    Draw number ``n`` takes ``DRAW(seed, n)`` modulo the weight left, over cumulative weights sorted by address.
    """
    pool = [(address, weight) for address, weight in sorted(weights.items()) if weight > 0]
    left = sum(weight for _, weight in pool)
    drawn: list[Address] = []
    for number in range(min(seats, len(pool))):
        point = int.from_bytes(hashing.DRAW(seed, number.to_bytes(8, "big")), "big") % left
        position = 0
        while point >= pool[position][1]:
            point -= pool[position][1]
            position += 1
        address, weight = pool.pop(position)
        drawn.append(address)
        left -= weight
    return drawn


def order(beacon: Hash, items: list[int]) -> list[int]:
    """Items in the order that a beacon gives them, which nobody could aim at."""
    return sorted(items, key=lambda item: (hashing.DRAW(beacon, item.to_bytes(8, "big")), item))
