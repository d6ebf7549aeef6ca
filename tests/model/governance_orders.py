"""Makes proposals, deposits and votes: changes that a history can go on with, and ones that no chain can live with."""

from __future__ import annotations

from typing import Any

from omnitensor.protocol import bodies
from omnitensor.protocol.bodies.governance import (
    AdmissionChange,
    ParameterChange,
    ParameterChanges,
    Payment,
    SoftwareUpgrade,
    TextOnly,
    TreasurySpend,
    UpgradeCancel,
)
from omnitensor.protocol.types import NANO, Address, Amount, Height
from tests.model.governance import PASSED, VOTING, bounds
from tests.model.scene import Scene, address_of

LIVELY: dict[str, list[int]] = {
    "base_fee_min": [1, 5, 50],
    "base_fee_change_bps": [1, 900, 1_250],
    "block_weight_max": [100_000, 120_000],
    "block_weight_target": [12_000, 24_000, 60_000],
    "valid_until_blocks_max": [10, 30, 90],
    "validators_max": [4, 6, 8, 9],
    "evidence_epochs": [2, 3],
    "validator_stake_min": [500 * NANO, 1_000 * NANO, 2_000 * NANO],
    "unbonding_blocks": [30, 40, 41],
    "double_vote_slash_bps": [100, 500, 3_333],
    "slash_burn_bps": [0, 5_000, 10_000],
    "reporter_share_bps": [0, 2_000, 5_000],
    "batch_items": [1, 3, 4, 6],
    "batch_contributor_share_bps": [1, 2_500, 5_000, 10_000],
    "batch_wait_blocks": [1, 4, 9, 15],
    "seed_delay_blocks": [1, 2, 4],
    "seat_accept_blocks": [1, 3, 5],
    "report_commit_blocks": [3, 7, 9],
    "report_reveal_blocks": [1, 4, 6],
    "grant_blocks": [1, 2, 3],
    "challenge_blocks": [1, 5, 7],
    "submission_reveal_blocks": [3, 6, 9],
    "seat_quorum_bps": [2_000, 6_000, 10_000],
    "seat_redraws_max": [0, 1, 2, 3],
    "seat_bond_multiple": [0, 1, 2, 7],
    "contributor_paid_at_verdict_bps": [0, 8_000, 10_000],
    "no_commit_slash_bps": [0, 5_000, 10_000],
    "no_reveal_slash_bps": [0, 5_000, 10_000],
    "peer_clip_bps": [5_000, 9_700, 9_999],
    "prior_weight": [1, 10, 100],
    "gamma_gold_bps": [0, 6_000, 10_000],
    "reputation_prior_weight": [1, 10_000],
    "reputation_break_even_bps": [0, 2_500],
    "reputation_span_bps": [1, 4_500],
    "gate_gold_evidence_min": [0, 2_000],
    "gate_peer_evidence_min": [0, 6_000],
    "gate_peer_prior_weight": [1, 20_000],
    "closeness_base_bps": [0, 7_000, 10_000],
    "closeness_free_points": [0, 10],
    "closeness_span_points": [1, 40],
    "penalty_bps": [0, 10_000],
    "penalty_burn_bps": [0, 3_333, 5_000, 10_000],
    "reject_bond_bps": [0, 2_500, 10_000],
    "near_miss_points": [0, 5, 20],
    "proposal_deposit_min": [50 * NANO, 70 * NANO],
    "proposal_deposit_first_bps": [500, 2_500, 10_000],
    "proposal_deposit_blocks": [4, 8],
    "proposal_voting_blocks": [5, 9],
    "proposal_timelock_blocks": [1, 4],
    "proposal_quorum_bps": [1_000, 3_340],
    "proposal_threshold_bps": [5_000, 6_000],
    "proposal_veto_bps": [2_000, 3_340],
    "delta_ms": [700, 900],
    "season_epochs": [1, 3],
    "season_pool": [0, 77 * NANO, 500 * NANO],
    "season_places": [1, 4, 50],
    "participation_reward": [0, NANO // 50, NANO],
    "participation_account_max": [0, NANO // 9, NANO],
    "participation_pool": [0, NANO // 3, 9 * NANO],
    "gold_reveal_blocks": [1, 4],
    "gold_veto_bps": [5_001, 8_000],
    "leak_finder_bps": [0, 5_000, 10_000],
    "fresh_seats_min": [1, 3, 5],
    "delegation_min": [NANO, 5 * NANO],
    "commission_step_bps": [100, 6_000],
    "commission_wait_blocks": [1, 20],
    "validator_admission": [0, 0, 1],
    "reward_base_bps": [0, 500, 2_000],
    "reward_votes_bps": [0, 100, 1_000],
    "reward_reviews_bps": [0, 100, 1_000],
    "block_interval_ms": [1_000, 1_500],
    "worker_bond_min": [200 * NANO, 300 * NANO, 500 * NANO],
    "work_assigned_blocks": [0, 3, 8],
    "work_anchor_blocks_max": [4, 8],
    "work_outputs_blocks": [2, 4],
    "work_judge_blocks": [6, 12],
    "work_chain_replicas": [1, 2],
    "work_receipts_per_block_max": [1, 4],
    "synthetic_units_max": [0, 2, 9],
    "work_withheld_slash_bps": [0, 1_000, 10_000],
    "work_fraud_bond": [0, 5 * NANO],
    "work_finder_bps": [0, 5_000],
    "work_discount_bps": [0, 2_500, 10_000],
    "work_base_price": [1, NANO, 1_000 * NANO],
    "compute_bps": [0, 500, 1_000],
    "work_judges_bps": [0, 1_000, 5_000],
    "work_keep_blocks": [0, 15],
}
"""Values that any history can go on with."""


def change(chance: Any) -> ParameterChange:
    pick = chance.randrange(14)
    if pick == 0:
        return ParameterChange(
            "reputation_decay", *chance.choice([(7, 8), (1, 2), (0, 1), (8, 8), (9, 10_001)])
        )
    if pick == 1:
        name = chance.choice(sorted(bounds()))
        limit = bounds()[name]
        value = chance.choice([limit.low - 1, limit.high + 1])
        return ParameterChange(name, max(0, value))
    if pick == 2:
        return chance.choice(  # type: ignore[no-any-return] # one of the list
            [
                ParameterChange("no_such_parameter", 1),
                ParameterChange("epoch_blocks", 10),
                ParameterChange("batch_items", 1, 2),
                ParameterChange("reputation_decay", 1),
                ParameterChange("delta_ms", 50_000),
                ParameterChange("block_weight_target", 200_000),
                ParameterChange("unbonding_blocks", 29),
            ]
        )
    name = chance.choice(sorted(LIVELY))
    return ParameterChange(name, chance.choice(LIVELY[name]))


def content(scene: Scene, chance: Any) -> Any:
    model, height = scene.model, scene.model.height
    pick = chance.randrange(20)
    if pick < 11:
        return ParameterChanges(tuple(change(chance) for _ in range(chance.choice([1, 1, 1, 2, 3]))))
    somebody = address_of(chance.choice(scene.names))
    if pick < 14:
        reserve = model.pots.get("reserve", 0)
        amounts = [chance.choice([NANO, 77 * NANO, 77 * NANO, 0, reserve, min(10**18, reserve + 1)])]
        to = somebody if chance.randrange(9) else Address(b"\x07" + bytes(32))
        return TreasurySpend(tuple(Payment(to, Amount(each)) for each in [*amounts, NANO]))
    if pick < 16:
        admitted = list(model.admitted)
        dismiss = tuple(Address(each) for each in admitted[:1]) if chance.randrange(2) else ()
        return AdmissionChange((somebody,) if chance.randrange(3) else (), dismiss)
    if pick < 18:
        name = f"name{chance.randrange(6)}"
        return SoftwareUpgrade(name, "2.0", Height(max(0, height + chance.choice([-1, 30, 40, 41]))))
    if pick < 19:
        return UpgradeCancel(f"name{chance.randrange(6)}")
    return TextOnly()


def proposal_submit(scene: Scene, chance: Any) -> tuple[Address, Any]:
    wanted = scene.model.p.proposal_deposit_min
    deposit = chance.choice([wanted, wanted, wanted, wanted // 4, wanted // 2, 0, wanted + 1, 1])
    who = address_of(chance.choice(scene.names))
    return who, bodies.ProposalSubmit("title", "summary", content(scene, chance), Amount(deposit))


def some_proposal(scene: Scene, chance: Any, status: int) -> int:
    fitting = [number for number, row in scene.model.proposals.items() if row.status == status]
    if fitting and chance.randrange(12):
        return int(chance.choice(fitting))
    return int(chance.randrange(scene.model.counters.get("proposal", 1) + 1))


def proposal_deposit(scene: Scene, chance: Any) -> tuple[Address, Any]:
    number = some_proposal(scene, chance, 0)
    row = scene.model.proposals.get(number)
    lacks = row.deposit_wanted - row.deposit if row else NANO
    part = chance.choice([lacks, lacks, lacks // 2, lacks // 2, lacks + 1, 0, 1])
    who = address_of(chance.choice(scene.names))
    return who, bodies.ProposalDeposit(number, Amount(part))


def proposal_vote(scene: Scene, chance: Any) -> tuple[Address, Any] | None:
    model = scene.model
    number = some_proposal(scene, chance, VOTING)
    if not any(row.status == VOTING for row in model.proposals.values()) and chance.randrange(5):
        return None
    voters = [each[0] for each in model.sets[model.epoch][1] if (number, each[0]) not in model.votes]
    delegators = [who for who, _ in model.delegations]
    who = chance.choice(voters) if voters and chance.randrange(7) else None
    if who is None or (delegators and chance.randrange(3) == 0):
        who = chance.choice([*delegators, *(address_of(name) for name in scene.names)])
    mood = number % 5  # most of a proposal's voters think alike
    likely = [0, 0, 0, 1, 3][mood]
    option = likely if chance.randrange(4) else chance.choice([0, 1, 2, 3, 3, 4])
    return Address(who), bodies.ProposalVote(number, option)


def proposal_cancel(scene: Scene, chance: Any) -> tuple[Address, Any]:
    number = some_proposal(scene, chance, 0 if chance.randrange(5) else PASSED)
    row = scene.model.proposals.get(number)
    who = Address(row.proposer) if row and chance.randrange(4) else address_of(chance.choice(scene.names))
    return who, bodies.ProposalCancel(number)
