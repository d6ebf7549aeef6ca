"""The table of parameters, page of delegated stake, rewards and admission. How to read and add to it stands in ``params``."""

from typing import Annotated

from omnitensor.protocol.parameter import BLOCK, BLOCKS_MAX, EPOCH, Area, Spec
from omnitensor.protocol.params_review import ReviewParams
from omnitensor.protocol.types import BPS, NANO, U16, U32, Amount, AmountF, Bps


class StakingParams(ReviewParams, frozen=True):
    """Parameters of delegation, rewards and admission."""

    delegation_min: Annotated[
        AmountF,
        Spec(Area.STAKING, "nanoOMNIT", 1, 1_000 * NANO, BLOCK, "The least that a delegation may be worth."),
    ] = Amount(NANO)
    commission_step_bps: Annotated[
        Bps, Spec(Area.STAKING, "bps", 1, BPS, BLOCK, "How far a validator may raise its commission at once.")
    ] = 100
    commission_wait_blocks: Annotated[
        U32,
        Spec(Area.STAKING, "blocks", 1, BLOCKS_MAX, BLOCK, "Blocks between two raises of a commission."),
    ] = 86_400
    validator_admission: Annotated[
        U16,
        Spec(
            Area.STAKING,
            "choice",
            0,
            1,
            BLOCK,
            "Who may register as a validator: 0 whoever has the stake, 1 whom governance admitted.",
        ),
    ] = 0
    reward_base_bps: Annotated[
        Bps, Spec(Area.STAKING, "bps a year", 0, 2_000, EPOCH, "Reward of active stake.")
    ] = 500
    reward_votes_bps: Annotated[
        Bps, Spec(Area.STAKING, "bps a year", 0, 1_000, EPOCH, "Further reward at full attendance.")
    ] = 100
    reward_reviews_bps: Annotated[
        Bps, Spec(Area.STAKING, "bps a year", 0, 1_000, EPOCH, "Further reward for faultless reviews.")
    ] = 100
