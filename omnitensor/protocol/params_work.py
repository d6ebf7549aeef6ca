"""The table of parameters, page of work on models. How to read and add to it stands in ``params``."""

from typing import Annotated

from omnitensor.protocol import limits
from omnitensor.protocol.parameter import BLOCK, BLOCKS_MAX, EPOCH, Area, Spec
from omnitensor.protocol.params_staking import StakingParams
from omnitensor.protocol.types import BPS, NANO, SUPPLY_MAX, U32, Amount, AmountF, Bps


class WorkParams(StakingParams, frozen=True):
    """Parameters of workers, jobs, and what work earns."""

    worker_bond_min: Annotated[
        AmountF,
        Spec(Area.WORK, "nanoOMNIT", NANO, SUPPLY_MAX // 1_000, BLOCK, "Bond of a worker, whole."),
    ] = Amount(1_000 * NANO)
    work_assigned_blocks: Annotated[
        U32,
        Spec(
            Area.WORK,
            "blocks",
            0,
            10_000,
            BLOCK,
            "After a job opened, a unit is for so long theirs to whom it was drawn; then anybody's.",
        ),
    ] = 32
    work_anchor_blocks_max: Annotated[
        U32,
        Spec(Area.WORK, "blocks", 2, 1_000, BLOCK, "Age of the block whose hash is in a receipt's noise."),
    ] = 64
    work_outputs_blocks: Annotated[
        U32,
        Spec(
            Area.WORK,
            "blocks",
            1,
            10_000,
            BLOCK,
            "Time to show a receipt's outputs; and for so long a unit that lacks replicas waits for them.",
        ),
    ] = 16
    work_judge_blocks: Annotated[
        U32,
        Spec(Area.WORK, "blocks", 2, 100_000, BLOCK, "Time to judge a receipt once its outputs are shown."),
    ] = 120
    work_job_blocks_max: Annotated[
        U32, Spec(Area.WORK, "blocks", 10, BLOCKS_MAX, BLOCK, "How far ahead a job's deadline may lie.")
    ] = 86_400
    work_place_price: Annotated[
        AmountF,
        Spec(
            Area.WORK,
            "nanoOMNIT",
            0,
            NANO // 100,
            BLOCK,
            "Burned for each block of a place among open jobs, times how many places beyond the free ones are taken with it.",
        ),
    ] = Amount(10_000)
    work_chain_job_blocks: Annotated[
        U32, Spec(Area.WORK, "blocks", 10, BLOCKS_MAX, BLOCK, "Time for the chain's own job about a batch.")
    ] = 600
    work_chain_replicas: Annotated[
        U32,
        Spec(
            Area.WORK,
            "replicas",
            1,
            limits.job_replicas_max,
            BLOCK,
            "Workers to whom each unit of the chain's own jobs goes, where there are so many.",
        ),
    ] = 2
    work_receipts_per_block_max: Annotated[
        U32, Spec(Area.WORK, "receipts", 1, 1_000, BLOCK, "Receipts of a block: every validator judges each.")
    ] = 16
    work_keep_blocks: Annotated[
        U32,
        Spec(
            Area.WORK,
            "blocks",
            0,
            BLOCKS_MAX,
            BLOCK,
            "For so long after a job that somebody posted ended its receipts and outputs are kept, an epoch at least.",
        ),
    ] = 86_400
    synthetic_units_max: Annotated[
        U32, Spec(Area.WORK, "units", 0, 10_000, BLOCK, "Units of synthetic work, for each worker an epoch.")
    ] = 16
    work_withheld_slash_bps: Annotated[
        Bps,
        Spec(
            Area.WORK,
            "bps",
            0,
            BPS,
            BLOCK,
            "Share of the whole bond that a receipt without its outputs costs.",
        ),
    ] = 1_000
    work_fraud_bond: Annotated[
        AmountF,
        Spec(Area.WORK, "nanoOMNIT", 0, 100_000 * NANO, BLOCK, "Bond of whoever shows a row to be wrong."),
    ] = Amount(10 * NANO)
    work_finder_bps: Annotated[
        Bps,
        Spec(
            Area.WORK,
            "bps",
            0,
            BPS // 2,
            BLOCK,
            "The finder's share of a bond that is slashed for a row that was shown to be wrong.",
        ),
    ] = 5_000
    work_discount_bps: Annotated[
        Bps, Spec(Area.WORK, "bps", 0, BPS, BLOCK, "Share of work that counts where nothing burned for it.")
    ] = 2_500
    work_base_price: Annotated[
        AmountF,
        Spec(
            Area.WORK,
            "nanoOMNIT",
            1,
            1_000 * NANO,
            BLOCK,
            "For 2^30 multiply-accumulates: work for which so much burned counts in full.",
        ),
    ] = Amount(NANO // 1_000)
    compute_bps: Annotated[
        Bps,
        Spec(
            Area.WORK,
            "bps a year",
            0,
            1_000,
            EPOCH,
            "Of the voting stake: the compute pool, paid each epoch.",
        ),
    ] = 100
    work_judges_bps: Annotated[
        Bps,
        Spec(
            Area.WORK,
            "bps",
            0,
            5_000,
            EPOCH,
            "Judges' share of the compute pool, by votes that agreed with the outcome.",
        ),
    ] = 1_000
