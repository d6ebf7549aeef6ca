"""The base fee and what a transaction owes. Integers only.

The base fee moves towards the load at which a block is at its target weight, by at most ``base_fee_change_bps`` a block
(the rule of EIP-1559, with the change bounded whatever the ratio of the greatest weight to the target).
"""

from omnitensor.protocol.params import Params
from omnitensor.protocol.types import BPS


def next_base_fee(base_fee: int, weight_used: int, params: Params) -> int:
    """nanoOMNIT a unit of weight for the block above one that paid ``base_fee`` and used ``weight_used``."""
    target = params.block_weight_target
    step_max = base_fee * params.base_fee_change_bps // BPS
    if weight_used > target:
        # A fee of a few nanoOMNIT still has to rise: by one at least.
        step = min(step_max, base_fee * (weight_used - target) * params.base_fee_change_bps // (target * BPS))
        return base_fee + max(step, 1)
    step = base_fee * (target - weight_used) * params.base_fee_change_bps // (target * BPS)
    return max(base_fee - min(step, step_max), params.base_fee_min)


def fee_of(weight: int, base_fee: int) -> int:
    """nanoOMNIT that a transaction of this weight burns."""
    return weight * base_fee
