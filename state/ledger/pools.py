"""A validator's stake pool: rewards of a share, what of its stake earns in an epoch, and how far its stake was slashed.

Arithmetic and the rows alone; moves no money. Numbers beyond 64 bits are 16 bytes in a row.
"""

from typing import Final, NamedTuple

from msgspec.structs import replace

from omnitensor.protocol.types import BPS, Address, Amount, Epoch
from omnitensor.protocol.votes import ValidatorEntry
from state.ledger.view import ReadView, View
from state.records import Validator
from state.records_stake import FIXED_BYTES, ZERO_FIXED, StakePool
from state.schema import STAKE_POOLS, VALIDATORS

INDEX_BITS: Final = 96
"""The reward index counts in 2**-96 nanoOMNIT a share: a million epochs of rounding take less than a unit of any delegation."""
SCALE_ONE: Final = 10**36
SCALE_MIN: Final = 10**17
"""Below it nothing is left of older stake, and a new generation begins."""


class Scale(NamedTuple):
    """How far a validator's stake was slashed: what is left of ``SCALE_ONE`` in a generation."""

    generation: int
    left: int


def wide(data: bytes) -> int:
    """The number in a row's 16 bytes."""
    return int.from_bytes(data, "big")


def fixed(number: int) -> bytes:
    """A number as 16 bytes of a row."""
    return number.to_bytes(FIXED_BYTES, "big")


NEW_POOL: Final = StakePool(
    owed=Amount(0),
    index=ZERO_FIXED,
    epoch=Epoch(0),
    own=Amount(0),
    delegated=Amount(0),
    commission_bps=0,
    generation=0,
    scale=fixed(SCALE_ONE),
)


def pool_of(view: ReadView, validator: Address) -> StakePool:
    """A validator's pool, fresh where it has none."""
    return view.get(STAKE_POOLS, validator) or NEW_POOL


def scale_of(view: ReadView, validator: Address) -> Scale:
    pool = pool_of(view, validator)
    return Scale(pool.generation, wide(pool.scale))


def kept(number: int, then: Scale, now: Scale) -> int:
    """What is left of an amount, or of shares, after every slash between two scales; rounded down."""
    if then.generation != now.generation:
        return 0
    return number * now.left // then.left


def shrink(view: View, validator: Address, share_bps: int) -> None:
    """Notes in the scale that a share of everything at stake with the validator was slashed."""
    pool = pool_of(view, validator)
    left = wide(pool.scale) * (BPS - share_bps) // BPS
    if left < SCALE_MIN:
        pool = replace(pool, generation=pool.generation + 1, scale=fixed(SCALE_ONE))
    else:
        pool = replace(pool, scale=fixed(left))
    view.put(STAKE_POOLS, pool, validator)


def begin_epoch(view: View, epoch: Epoch, entries: tuple[ValidatorEntry, ...]) -> None:
    """Notes for each voter of an epoch what of its stake can earn in it, and at which commission."""
    for entry in entries:
        row = view.get(VALIDATORS, entry.address)
        if row is None:  # a table made by hand
            continue
        pool = pool_of(view, entry.address)
        noted = replace(
            pool, epoch=epoch, own=row.stake, delegated=row.delegated, commission_bps=row.commission_bps
        )
        view.put(STAKE_POOLS, noted, entry.address)


def worth(row: Validator, shares: int) -> int:
    """nanoOMNIT that shares of what is delegated to a validator stand for, rounded down."""
    return shares * row.delegated // row.shares if row.shares else 0
