"""What a block's execution is given besides the state. Everything is data: no clock, no randomness."""

from dataclasses import dataclass

from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Address, Epoch, Hash, Height, TimeMs


@dataclass(frozen=True, slots=True)
class BlockContext:
    """The block being executed. ``base_fee`` is nanoOMNIT a unit of weight; ``beacon`` is this block's own."""

    chain_id: str
    height: Height
    epoch: Epoch
    timestamp_ms: TimeMs
    proposer: Address
    beacon: Hash
    params: Params
    base_fee: int
