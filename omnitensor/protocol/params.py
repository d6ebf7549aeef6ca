"""Parameters of a chain: every number that governance may one day change, with its default, in one table.

Limits that protect a node are in ``limits``.
"""

from omnitensor.protocol.codec import Record
from omnitensor.protocol.types import NANO, U32, U64, Amount, AmountF, Bps


class Params(Record, frozen=True):
    """Fixed in genesis. Amounts in nanoOMNIT, times in milliseconds, windows in blocks, ratios in basis points."""

    # Pace of the chain
    block_interval_ms: U32 = 1_000
    delta_ms: U32 = 700
    """Bound on a message's delay while the network is healthy; a view's timer is three of these."""
    standstill_ms: U32 = 4_000
    clock_drift_ms: U32 = 2_000

    # Fees
    base_fee_initial: U64 = 100
    """nanoOMNIT a unit of weight."""
    base_fee_min: U64 = 1
    base_fee_change_bps: Bps = 1_250
    block_weight_max: U64 = 4_000_000
    block_weight_target: U64 = 2_000_000
    valid_until_blocks_max: U32 = 86_400
    """How far ahead of the chain a transaction's ``valid_until`` may lie."""

    # Epochs
    epoch_blocks: U32 = 600
    """Blocks of an epoch; the last of them is its boundary."""
    validators_max: U32 = 100
    """Voters of an epoch: the largest by stake."""
    evidence_epochs: U32 = 2_015
    """For so many epochs after its own a validator set is kept, so that what its members signed can be judged (two weeks by
    default, its own epoch included)."""

    # Validators
    validator_stake_min: AmountF = Amount(32_000 * NANO)
    unbonding_blocks: U32 = 1_209_600
    """Blocks between a withdrawal of stake and its payment: ``(evidence_epochs + 1) * epoch_blocks`` at least, so that whoever
    signs what convicts it can't be paid before it is convicted."""
    double_vote_slash_bps: Bps = 500
    """Share of stake, unbonding included, that a validator loses that contradicted itself; it is removed besides."""
    slash_burn_bps: Bps = 5_000
    """Share of what is slashed that burns."""
    reporter_share_bps: Bps = 2_000
    """The reporter's share of what does not burn; the rest goes to the reserve."""

    # Campaigns and review
    first_campaign_id: U32 = 1
    batch_items: U32 = 20
    batch_contributor_share_bps: Bps = 2_500
    batch_wait_blocks: U32 = 20
    """A batch that is not full is formed when its oldest item has waited this long."""
    seed_delay_blocks: U32 = 4
    """Blocks between a batch's content being frozen and the beacon that draws its seats."""
    seat_accept_blocks: U32 = 60
    report_commit_blocks: U32 = 720
    report_reveal_blocks: U32 = 240
    challenge_blocks: U32 = 720
    submission_reveal_blocks: U32 = 240
    seat_quorum_bps: Bps = 6_000
    """Revealed reports a verdict needs, as a share of the seats drawn (3 of 5), rounded up."""
    seat_redraws_max: U32 = 2
    seat_bond_multiple: U32 = 2
    """A seat bonds this many times the fee of its items."""
    contributor_paid_at_verdict_bps: Bps = 8_000
    no_commit_slash_bps: Bps = 5_000
    no_reveal_slash_bps: Bps = 10_000

    # Scores, reputation and pay (names as in docs/specification; all in basis points unless said)
    peer_clip_bps: U32 = 9_700
    prior_weight: U32 = 10
    gamma_gold_bps: Bps = 6_000
    reputation_decay: tuple[U32, U32] = (7, 8)
    gate_decay: tuple[U32, U32] = (15, 16)
    reputation_prior_weight: U32 = 10_000
    reputation_break_even_bps: U32 = 2_500
    reputation_span_bps: U32 = 4_500
    gate_gold_bps: U32 = 2_500
    gate_gold_evidence_min: U32 = 9_000
    gate_gold_prior_weight: U32 = 4_000
    gate_peer_bps: U32 = 1_500
    gate_peer_evidence_min: U32 = 60_000
    gate_peer_prior_weight: U32 = 20_000
    closeness_base_bps: U32 = 7_000
    closeness_free_points: U32 = 10
    closeness_span_points: U32 = 40
    penalty_bps: Bps = 10_000
    penalty_burn_bps: Bps = 5_000

    # Rejected items
    reject_bond_bps: Bps = 2_500
    """Share of its bond that a rejected item costs."""
    near_miss_points: U32 = 5
    """A rejected item whose every criterion is within this of its threshold costs nothing."""
