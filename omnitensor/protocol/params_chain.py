"""The table of parameters, first page: pace, fees, epochs, staking. How to read and add to it stands in ``params``."""

from typing import Annotated

from omnitensor.protocol import limits
from omnitensor.protocol.codec import Record
from omnitensor.protocol.parameter import BLOCK, BLOCKS_MAX, EPOCH, GENESIS, Area, Spec
from omnitensor.protocol.types import BPS, NANO, SUPPLY_MAX, U32, U64, Amount, AmountF, Bps


class ChainParams(Record, frozen=True):
    """Parameters of the chain itself."""

    block_interval_ms: Annotated[
        U32,
        Spec(
            Area.PACE,
            "ms",
            20,
            60_000,
            EPOCH,
            "A block is dated so long after its parent at least; its leader waits for that.",
            step=2,
        ),
    ] = 1_000
    delta_ms: Annotated[
        U32,
        Spec(
            Area.PACE,
            "ms",
            10,
            60_000,
            EPOCH,
            "Bound on a message's delay while the network is healthy; a view's timer is three of these.",
            step=2,
        ),
    ] = 700
    standstill_ms: Annotated[
        U32,
        Spec(
            Area.PACE,
            "ms",
            10,
            600_000,
            EPOCH,
            "Without finality for so long, a node repeats itself.",
            step=2,
        ),
    ] = 4_000
    clock_drift_ms: Annotated[
        U32,
        Spec(
            Area.PACE,
            "ms",
            10,
            240_000,
            EPOCH,
            "How far a block's timestamp may be ahead of a voter's clock.",
            step=2,
        ),
    ] = 2_000

    base_fee_initial: Annotated[
        U64,
        Spec(
            Area.FEES,
            "nanoOMNIT a unit of weight",
            1,
            10**12,
            GENESIS,
            "Base fee of the first block.",
            fixed_because="only the first block reads it",
        ),
    ] = 100
    base_fee_min: Annotated[
        U64, Spec(Area.FEES, "nanoOMNIT a unit of weight", 1, 10**6, BLOCK, "The base fee never falls below.")
    ] = 1
    base_fee_change_bps: Annotated[
        Bps, Spec(Area.FEES, "bps", 1, 1_250, BLOCK, "How far a block's fullness moves the base fee at most.")
    ] = 1_250
    block_weight_max: Annotated[
        U64,
        Spec(Area.FEES, "weight", 100_000, 16_000_000, BLOCK, "Weight of a block's transactions at most."),
    ] = 4_000_000
    block_weight_target: Annotated[
        U64,
        Spec(
            Area.FEES,
            "weight",
            10_000,
            16_000_000,
            BLOCK,
            "Above this weight the base fee rises, below it falls.",
        ),
    ] = 2_000_000
    valid_until_blocks_max: Annotated[
        U32,
        Spec(
            Area.FEES,
            "blocks",
            10,
            BLOCKS_MAX,
            BLOCK,
            "How far ahead of the chain a transaction's `valid_until` may lie.",
        ),
    ] = 86_400

    epoch_blocks: Annotated[
        U32,
        Spec(
            Area.EPOCHS,
            "blocks",
            2,
            BLOCKS_MAX,
            GENESIS,
            "Blocks of an epoch; the last of them is its boundary.",
            fixed_because="the epoch of a height is a division by it, which must give the same for every height that ever was",
        ),
    ] = 600
    validators_max: Annotated[
        U32,
        Spec(
            Area.EPOCHS,
            "validators",
            4,
            limits.validators_max,
            EPOCH,
            "Voters of an epoch: the largest by stake.",
        ),
    ] = 100
    evidence_epochs: Annotated[
        U32,
        Spec(
            Area.EPOCHS,
            "epochs",
            2,
            100_000,
            EPOCH,
            "For so many epochs after its own a validator set is kept, so that what its members signed can be judged.",
        ),
    ] = 2_015

    validator_stake_min: Annotated[
        AmountF,
        Spec(Area.STAKING, "nanoOMNIT", NANO, SUPPLY_MAX // 100, BLOCK, "Own stake that a validator needs."),
    ] = Amount(32_000 * NANO)
    unbonding_blocks: Annotated[
        U32,
        Spec(
            Area.STAKING,
            "blocks",
            1,
            BLOCKS_MAX,
            EPOCH,
            "Blocks between a withdrawal of stake and its payment.",
        ),
    ] = 1_209_600
    double_vote_slash_bps: Annotated[
        Bps,
        Spec(
            Area.STAKING,
            "bps",
            100,
            BPS,
            BLOCK,
            "Share of stake, unbonding included, that a validator loses that contradicted itself.",
        ),
    ] = 500
    slash_burn_bps: Annotated[
        Bps, Spec(Area.STAKING, "bps", 0, BPS, BLOCK, "Share of what is slashed that burns.")
    ] = 5_000
    reporter_share_bps: Annotated[
        Bps,
        Spec(
            Area.STAKING,
            "bps",
            0,
            BPS // 2,
            BLOCK,
            "The reporter's share of what does not burn; the rest goes to the reserve.",
        ),
    ] = 2_000

    attendance_min_bps: Annotated[
        Bps,
        Spec(
            Area.STAKING,
            "bps",
            0,
            6_000,
            EPOCH,
            "Share of an epoch's blocks that must name a voter, or it was absent; a third of it where work draws leaders.",
        ),
    ] = 5_000
    downtime_epochs: Annotated[
        U32,
        Spec(
            Area.STAKING,
            "epochs",
            1,
            100_000,
            EPOCH,
            "A validator that was absent in so many epochs in a row is slashed and jailed.",
        ),
    ] = 12
    downtime_slash_bps: Annotated[
        Bps,
        Spec(
            Area.STAKING,
            "bps",
            0,
            100,
            BLOCK,
            "Share of stake, delegated and unbonding included, that a validator loses when it is jailed for downtime.",
        ),
    ] = 1
    jail_blocks: Annotated[
        U32,
        Spec(
            Area.STAKING,
            "blocks",
            1,
            BLOCKS_MAX,
            BLOCK,
            "Blocks from a jailing until the validator may leave jail.",
        ),
    ] = 3_600
    jail_share_max_bps: Annotated[
        Bps,
        Spec(
            Area.STAKING,
            "bps",
            0,
            3_000,
            EPOCH,
            "Share of the voting stake, theirs included, that validators who may not leave jail yet weigh at most.",
        ),
    ] = 2_000
