"""Drawing seats by weight, without replacement, from a seed. Knows weights and hashes; nothing of who may sit."""

from collections.abc import Mapping
from typing import Final

from omnitensor.protocol import hashing
from omnitensor.protocol.codec import encode
from omnitensor.protocol.types import Address, BatchId, Hash

LOG_BITS: Final = 32
_HASH_BITS: Final = 256
_MANTISSA_BITS: Final = 64
_TIME_SHIFT: Final = 96
"""Weights are below 2**64, so times of different weights stay apart."""


def seats_seed(beacon: Hash, batch: BatchId, round_: int, attempt: int) -> Hash:
    """Seed of one draw: from a beacon that did not exist when the batch's content was frozen."""
    return hashing.SEATS(beacon, encode((int(batch), int(round_), int(attempt))))


def draw(seed: Hash, weights: Mapping[Address, int], seats: int) -> list[Address]:
    """Up to ``seats`` addresses in the order drawn, each by its weight among those still there; weight 0 never sits.

    Everybody runs a race of its own: the seed and the address give a number, which the weight divides, and the least come
    first. That is the same lot as a point on a line of all weights, seat by seat (Efraimidis and Spirakis). But whoever
    knows the seed and can still change a weight moves itself alone, and can't try one committee after the other.
    """
    runners = [(_time(seed, address, weight), address) for address, weight in weights.items() if weight > 0]
    return [address for _, address in sorted(runners)[:seats]]


def _time(seed: Hash, address: Address, weight: int) -> int:
    """When an address comes in: distributed as by chance with its weight as rate, in fixed point."""
    number = int.from_bytes(hashing.DRAW(seed, address), "big")
    return ((_HASH_BITS << LOG_BITS) - log2(number + 1) << _TIME_SHIFT) // weight


def log2(number: int) -> int:
    """The binary logarithm in units of ``2**-LOG_BITS``, of a mantissa of 64 bits that is cut at every step."""
    whole = number.bit_length() - 1
    mantissa = number << _MANTISSA_BITS - 1 >> whole
    found = whole
    for _ in range(LOG_BITS):
        mantissa = mantissa * mantissa >> _MANTISSA_BITS - 1
        bit = mantissa >> _MANTISSA_BITS
        mantissa >>= bit
        found = found << 1 | bit
    return found


def order(beacon: Hash, items: list[int]) -> list[int]:
    """Items in the order that a beacon gives them, which nobody could aim at."""
    return sorted(items, key=lambda item: (hashing.DRAW(beacon, item.to_bytes(8, "big")), item))
