"""A reviewer's standing ``Q``: decayed averages of scores, capped by two gates. Knows numbers; no accounts or state."""

from omnitensor.protocol.params import Params
from omnitensor.protocol.types import BPS
from state.records_review import Reputation

EVIDENCE_PER_ITEM = 1_000
"""Weight of one scored item in every average."""

SEAT_WEIGHT_BASE_BPS = 2_500
SEAT_WEIGHT_MIN_BPS = 1_000
VOTE_MAX = 8


FRESH = Reputation()


def updated(
    reputation: Reputation,
    peer: int | None,
    gold: int | None,
    peer_items: int,
    gold_items: int,
    params: Params,
) -> Reputation:
    """Standing after a batch: points (BPS) of ``peer_items`` items held against peers and ``gold_items`` against gold."""
    gamma = params.gamma_gold_bps
    if peer is not None and gold is not None:
        mixed = (gamma * gold + (BPS - gamma) * peer) // BPS
        evidence = (peer_items + gold_items) * EVIDENCE_PER_ITEM
    elif peer is not None:
        mixed, evidence = peer, peer_items * EVIDENCE_PER_ITEM * (BPS - gamma) // BPS
    elif gold is not None:
        mixed, evidence = gold, gold_items * EVIDENCE_PER_ITEM * gamma // BPS
    else:
        return reputation
    total = _decayed(reputation.total_sum, reputation.total_weight, mixed, evidence, params.reputation_decay)
    golds = reputation.gold_sum, reputation.gold_weight
    peers = reputation.peer_sum, reputation.peer_weight
    if gold is not None:
        golds = _decayed(*golds, gold, gold_items * EVIDENCE_PER_ITEM, params.gate_decay)
    if peer is not None:
        peers = _decayed(*peers, peer, peer_items * EVIDENCE_PER_ITEM, params.gate_decay)
    return Reputation(*total, *golds, *peers)


def quality(reputation: Reputation, params: Params) -> int:
    """``Q`` in BPS. A reviewer without a record stands at break-even; a gate caps whoever fails gold or peers for long."""
    prior = params.reputation_prior_weight
    found = (reputation.total_sum + params.reputation_break_even_bps * prior) // (
        reputation.total_weight + prior
    )
    if reputation.gold_weight >= params.gate_gold_evidence_min:
        gold = reputation.gold_sum // (reputation.gold_weight + params.gate_gold_prior_weight)
        if gold < params.gate_gold_bps:
            found = min(found, gold)
    if reputation.peer_weight >= params.gate_peer_evidence_min:
        peer = reputation.peer_sum // (reputation.peer_weight + params.gate_peer_prior_weight)
        if peer < params.gate_peer_bps:
            found = min(found, peer)
    return found


def seat_weight(stake: int, quality_bps: int) -> int:
    """Weight in the draw of seats: stake (nanoOMNIT), scaled by standing to between a tenth and the whole."""
    return stake * max(SEAT_WEIGHT_MIN_BPS, min(BPS, SEAT_WEIGHT_BASE_BPS + quality_bps * 3 // 2)) // BPS


def vote_weight(quality_bps: int) -> int:
    """Weight of a report in a verdict: 1..8."""
    return max(1, min(VOTE_MAX, 2 + quality_bps * VOTE_MAX // BPS))


def _decayed(sum_: int, weight: int, value: int, evidence: int, decay: tuple[int, int]) -> tuple[int, int]:
    kept, of = decay
    return sum_ * kept // of + value * evidence, weight * kept // of + evidence
