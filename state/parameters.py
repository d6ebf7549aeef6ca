"""Bounds of a chain's parameters: what a genesis may set, and later what governance may. Knows no state."""

from typing import Any, Final

import msgspec

from omnitensor.protocol import limits
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import BPS, NANO, SUPPLY_MAX

_RATIOS: Final = (0, BPS)
_BLOCKS: Final = (1, 100_000_000)

BOUNDS: Final[dict[str, tuple[int, int]]] = {
    "block_interval_ms": (20, 600_000),
    "delta_ms": (10, 600_000),
    "standstill_ms": (10, 3_600_000),
    "clock_drift_ms": (10, 600_000),
    "base_fee_initial": (1, 10**12),
    "base_fee_min": (1, 10**12),
    "base_fee_change_bps": (1, 1_250),
    "block_weight_max": (100_000, 100_000_000),
    "block_weight_target": (1, 100_000_000),
    "valid_until_blocks_max": _BLOCKS,
    "epoch_blocks": (2, 100_000_000),
    "validators_max": (1, limits.validators_max),
    "evidence_epochs": (2, 100_000),
    "validator_stake_min": (NANO, SUPPLY_MAX),
    "unbonding_blocks": _BLOCKS,
    "double_vote_slash_bps": _RATIOS,
    "slash_burn_bps": _RATIOS,
    "reporter_share_bps": (0, BPS // 2),
    "first_campaign_id": (0, 10**9),
    "batch_items": (1, limits.batch_items_max),
    "batch_contributor_share_bps": (1, BPS),
    "seat_quorum_bps": (1, BPS),
    "seat_redraws_max": (0, 8),
    "seat_bond_multiple": (0, 1_000),
    "contributor_paid_at_verdict_bps": _RATIOS,
    "no_commit_slash_bps": _RATIOS,
    "no_reveal_slash_bps": _RATIOS,
    "batch_wait_blocks": _BLOCKS,
    "seed_delay_blocks": _BLOCKS,
    "seat_accept_blocks": _BLOCKS,
    "report_commit_blocks": _BLOCKS,
    "report_reveal_blocks": _BLOCKS,
    "challenge_blocks": _BLOCKS,
    "submission_reveal_blocks": _BLOCKS,
    "closeness_base_bps": _RATIOS,
    "closeness_span_points": (1, 100),
    "peer_clip_bps": (BPS // 2, BPS - 1),
    "gate_gold_prior_weight": (1, 10**9),
    "gate_peer_prior_weight": (1, 10**9),
    "reputation_prior_weight": (1, 10**9),
    "reputation_span_bps": (1, BPS),
    "prior_weight": (1, 10**6),
}
"""Lowest and highest value by name; a parameter that is not here has the bounds of its type."""


class ParameterError(ProtocolError):
    """A parameter outside its bounds, or of an unknown name."""

    code = "parameter"


def params_from(overrides: dict[str, Any]) -> Params:
    """The default parameters with some set otherwise. Raises ParameterError."""
    for name in overrides:
        if name not in Params.__struct_fields__:
            raise ParameterError("there is no such parameter", value=name, remedy="see docs/specification")
    named = [overrides.get(name, getattr(Params(), name)) for name in Params.__struct_fields__]
    try:
        return msgspec.convert(named, Params)
    except msgspec.ValidationError as error:
        place = str(error)
        wrong = next((n for i, n in enumerate(Params.__struct_fields__) if f"$[{i}]" in place), "")
        raise ParameterError(
            f"the parameter {wrong} has another form: {error}", value=overrides.get(wrong)
        ) from error


def check_params(params: Params) -> None:
    """Raises ParameterError where one is out of bounds or two contradict each other."""
    for name, (low, high) in BOUNDS.items():
        value = getattr(params, name)
        if not low <= value <= high:
            raise ParameterError(f"{name} is out of bounds", value=value, remedy=f"from {low} to {high}")
    for name in ("reputation_decay", "gate_decay"):
        above, below = getattr(params, name)
        if not 0 <= above < below:
            raise ParameterError(
                f"{name} is no ratio below one",
                value=f"{above}/{below}",
                remedy="give two whole numbers, the first below the second",
            )
    if params.block_weight_target > params.block_weight_max:
        raise ParameterError(
            "block_weight_target is above block_weight_max",
            value=params.block_weight_target,
            remedy=f"at most {params.block_weight_max}",
        )
    if params.base_fee_initial < params.base_fee_min:
        raise ParameterError(
            "base_fee_initial is below base_fee_min",
            value=params.base_fee_initial,
            remedy=f"at least {params.base_fee_min}",
        )
    # A validator may take its stake out in the first block of an epoch and contradict itself in it all the same, since a set
    # is fixed for its epoch; the state keeps that set for so many epochs more. Until then its stake must be within reach.
    if params.unbonding_blocks < (window := (params.evidence_epochs + 1) * params.epoch_blocks):
        raise ParameterError(
            "unbonding_blocks is shorter than the evidence window, so a double voter could be paid before it is convicted",
            value=params.unbonding_blocks,
            remedy=f"at least {window}, which is (evidence_epochs + 1) * epoch_blocks; or fewer evidence_epochs",
        )
