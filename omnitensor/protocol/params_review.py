"""The table of parameters, second page: review, scores, reputation and pay. How to read and add to it stands in ``params``."""

from typing import Annotated, Final

from omnitensor.protocol import limits
from omnitensor.protocol.parameter import BLOCK, BLOCKS_MAX, GENESIS, Area, Ratio, Spec
from omnitensor.protocol.params_chain import ChainParams
from omnitensor.protocol.types import BPS, U32, Bps

_EVIDENCE_MAX: Final = 10**9


class ReviewParams(ChainParams, frozen=True):
    """Parameters of campaigns and of their review, names as in ``docs/specification/data-validation.md``."""

    first_campaign_id: Annotated[
        U32,
        Spec(
            Area.REVIEW,
            "number",
            0,
            10**9,
            GENESIS,
            "Number of the first campaign.",
            fixed_because="only the first campaign reads it",
        ),
    ] = 1
    batch_items: Annotated[
        U32, Spec(Area.REVIEW, "items", 1, limits.batch_items_max, BLOCK, "Items of a full batch.")
    ] = 20
    batch_contributor_share_bps: Annotated[
        Bps, Spec(Area.REVIEW, "bps", 1, BPS, BLOCK, "Share of a batch that one contributor's items may be.")
    ] = 2_500
    batch_wait_blocks: Annotated[
        U32,
        Spec(
            Area.REVIEW,
            "blocks",
            1,
            BLOCKS_MAX,
            BLOCK,
            "A batch that is not full is formed when its oldest item has waited this long.",
        ),
    ] = 20
    seed_delay_blocks: Annotated[
        U32,
        Spec(
            Area.REVIEW,
            "blocks",
            1,
            BLOCKS_MAX,
            BLOCK,
            "Blocks between a batch's content being frozen and the beacon that draws its seats.",
        ),
    ] = 4
    seat_accept_blocks: Annotated[
        U32, Spec(Area.REVIEW, "blocks", 1, BLOCKS_MAX, BLOCK, "Time to accept a seat.")
    ] = 60
    report_commit_blocks: Annotated[
        U32, Spec(Area.REVIEW, "blocks", 1, BLOCKS_MAX, BLOCK, "Time from the draw to commit a report.")
    ] = 720
    report_reveal_blocks: Annotated[
        U32, Spec(Area.REVIEW, "blocks", 1, BLOCKS_MAX, BLOCK, "Time to reveal a report.")
    ] = 240
    grant_blocks: Annotated[
        U32,
        Spec(
            Area.REVIEW,
            "blocks",
            1,
            BLOCKS_MAX,
            BLOCK,
            "Time from the draw to give a seat the keys of private items, at most half of the time to commit.",
        ),
    ] = 240
    gold_reveal_blocks: Annotated[
        U32,
        Spec(
            Area.REVIEW,
            "blocks",
            1,
            BLOCKS_MAX,
            BLOCK,
            "Time to say which items of a batch were gold, once its reports are open.",
        ),
    ] = 240
    challenge_blocks: Annotated[
        U32,
        Spec(
            Area.REVIEW, "blocks", 1, BLOCKS_MAX, BLOCK, "Time between a verdict and the rest of the reward."
        ),
    ] = 720
    submission_reveal_blocks: Annotated[
        U32, Spec(Area.REVIEW, "blocks", 1, BLOCKS_MAX, BLOCK, "Time to reveal a submission.")
    ] = 240
    seat_quorum_bps: Annotated[
        Bps,
        Spec(
            Area.REVIEW,
            "bps",
            2_000,
            BPS,
            BLOCK,
            "Revealed reports that a verdict needs, as a share of the seats drawn, rounded up.",
        ),
    ] = 6_000
    seat_redraws_max: Annotated[
        U32,
        Spec(Area.REVIEW, "draws", 0, 8, BLOCK, "How often seats are drawn again for those who don't come."),
    ] = 2
    seat_bond_multiple: Annotated[
        U32,
        Spec(
            Area.REVIEW,
            "multiple",
            0,
            1_000,
            BLOCK,
            "A seat bonds this many times the fee of its items, but no more than `validator_stake_min`.",
        ),
    ] = 2
    contributor_paid_at_verdict_bps: Annotated[
        Bps, Spec(Area.REVIEW, "bps", 0, BPS, BLOCK, "Share of a reward that is paid with the verdict.")
    ] = 8_000
    fresh_seats_min: Annotated[
        U32,
        Spec(
            Area.REVIEW,
            "seats",
            1,
            limits.seats_per_round_max,
            BLOCK,
            "With fewer fresh reviewers for a second round, those of the first may be drawn again.",
        ),
    ] = 3
    gold_veto_bps: Annotated[
        Bps,
        Spec(
            Area.REVIEW,
            "bps",
            BPS // 2 + 1,
            BPS,
            BLOCK,
            "Share of a committee's weight that voids a gold item by contradicting it.",
        ),
    ] = 8_000
    leak_finder_bps: Annotated[
        Bps,
        Spec(
            Area.REVIEW, "bps", 0, BPS, BLOCK, "The finder's share of the bond of a seat whose report leaked."
        ),
    ] = 5_000
    no_commit_slash_bps: Annotated[
        Bps, Spec(Area.REVIEW, "bps", 0, BPS, BLOCK, "Share of its bond that a seat without a report loses.")
    ] = 5_000
    no_reveal_slash_bps: Annotated[
        Bps,
        Spec(
            Area.REVIEW,
            "bps",
            0,
            BPS,
            BLOCK,
            "Share of its bond that a seat loses whose report stays hidden.",
        ),
    ] = 10_000

    peer_clip_bps: Annotated[
        U32, Spec(Area.SCORES, "bps", BPS // 2, BPS - 1, BLOCK, "How common an answer counts at most.")
    ] = 9_700
    prior_weight: Annotated[
        U32, Spec(Area.SCORES, "references", 1, 10**6, BLOCK, "Even references imagined before the first.")
    ] = 10
    gamma_gold_bps: Annotated[
        U32, Spec(Area.SCORES, "bps", 0, BPS, BLOCK, "Weight of gold against peers in a reviewer's average.")
    ] = 6_000
    reputation_decay: Annotated[
        Ratio,
        Spec(Area.SCORES, "ratio", 0, 10_000, BLOCK, "What of a reviewer's average stays at each batch."),
    ] = (7, 8)
    gate_decay: Annotated[
        Ratio,
        Spec(Area.SCORES, "ratio", 0, 10_000, BLOCK, "The same of the averages that the gates look at."),
    ] = (15, 16)
    reputation_prior_weight: Annotated[
        U32,
        Spec(Area.SCORES, "evidence", 1, _EVIDENCE_MAX, BLOCK, "Evidence imagined before the first batch."),
    ] = 10_000
    reputation_break_even_bps: Annotated[
        U32, Spec(Area.SCORES, "bps", 0, BPS, BLOCK, "Standing at which a review neither earns nor costs.")
    ] = 2_500
    reputation_span_bps: Annotated[
        U32,
        Spec(Area.SCORES, "bps", 1, BPS, BLOCK, "Standing above that at which a review earns its whole fee."),
    ] = 4_500
    gate_gold_bps: Annotated[
        U32, Spec(Area.SCORES, "bps", 0, BPS, BLOCK, "An average on gold below this caps the standing.")
    ] = 2_500
    gate_gold_evidence_min: Annotated[
        U32,
        Spec(
            Area.SCORES, "evidence", 0, _EVIDENCE_MAX, BLOCK, "Evidence from which the gate on gold counts."
        ),
    ] = 9_000
    gate_gold_prior_weight: Annotated[
        U32,
        Spec(Area.SCORES, "evidence", 1, _EVIDENCE_MAX, BLOCK, "Evidence imagined before the first gold."),
    ] = 4_000
    gate_peer_bps: Annotated[
        U32, Spec(Area.SCORES, "bps", 0, BPS, BLOCK, "An average against peers below this caps the standing.")
    ] = 1_500
    gate_peer_evidence_min: Annotated[
        U32,
        Spec(
            Area.SCORES, "evidence", 0, _EVIDENCE_MAX, BLOCK, "Evidence from which the gate on peers counts."
        ),
    ] = 60_000
    gate_peer_prior_weight: Annotated[
        U32,
        Spec(Area.SCORES, "evidence", 1, _EVIDENCE_MAX, BLOCK, "Evidence imagined before the first peers."),
    ] = 20_000
    closeness_base_bps: Annotated[
        U32,
        Spec(Area.SCORES, "bps", 0, BPS, BLOCK, "Share of a fee that closeness to the others does not move."),
    ] = 7_000
    closeness_free_points: Annotated[
        U32,
        Spec(Area.SCORES, "points", 0, 100, BLOCK, "Distance from the others' median that costs nothing."),
    ] = 10
    closeness_span_points: Annotated[
        U32, Spec(Area.SCORES, "points", 1, 100, BLOCK, "Distance beyond that which costs the most.")
    ] = 40
    penalty_bps: Annotated[
        Bps, Spec(Area.SCORES, "bps", 0, BPS, BLOCK, "Share of a fee that the worst standing costs.")
    ] = 10_000
    penalty_burn_bps: Annotated[
        Bps,
        Spec(Area.SCORES, "bps", 0, BPS, BLOCK, "Share of a penalty that burns; the campaign gets the rest."),
    ] = 5_000
    reject_bond_bps: Annotated[
        Bps, Spec(Area.SCORES, "bps", 0, BPS, BLOCK, "Share of its bond that a rejected item costs.")
    ] = 2_500
    near_miss_points: Annotated[
        U32,
        Spec(
            Area.SCORES,
            "points",
            0,
            100,
            BLOCK,
            "A rejected item whose every criterion is within this of its threshold costs nothing.",
        ),
    ] = 5
    near_duplicate_bits: Annotated[
        U32,
        Spec(
            Area.REVIEW,
            "bits",
            0,
            128,
            BLOCK,
            "Fingerprints that differ in no more bits are shown to reviewers as those of near duplicates.",
        ),
    ] = 40
