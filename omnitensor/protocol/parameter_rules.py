"""Which parameters a chain can live with: each within its bounds, and the rules between them. Knows no state."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.params import DEFAULTS, SPECS, Params
from omnitensor.protocol.types import BPS


class ParameterError(ProtocolError):
    """A parameter outside its bounds, of an unknown name, or in contradiction to another."""

    code = "parameter"


Rule = Callable[[Params], None]


def params_from(overrides: Mapping[str, Any], base: Params = DEFAULTS) -> Params:
    """The parameters of ``base`` with some set otherwise, not checked. Raises ParameterError for a name or a form."""
    for name in overrides:
        if name not in SPECS:
            raise ParameterError("there is no such parameter", value=name, remedy=_meant(name))
    named = [overrides.get(name, getattr(base, name)) for name in SPECS]
    try:
        return msgspec.convert(named, Params)
    except msgspec.ValidationError as error:
        place = str(error)
        wrong = next((name for i, name in enumerate(SPECS) if f"$[{i}]" in place), "")
        raise ParameterError(
            f"the parameter {wrong} has another form: {error}", value=overrides.get(wrong)
        ) from error


def _meant(name: str) -> str:
    """The parameter that may have been meant, where one is near. Names longer than any are not compared: that takes long."""
    near: list[str] = []
    if len(name) <= 2 * max(map(len, SPECS)):
        near = difflib.get_close_matches(name, sorted(SPECS), n=1, cutoff=0.7)
    page = "see docs/specification/parameters.md"
    return f"write {near[0]}, or {page}" if near else page


def check_params(params: Params) -> None:
    """Raises ParameterError where one is out of bounds or two contradict each other."""
    for name in SPECS:
        check_bounds(name, getattr(params, name))
    for rule in RULES:
        rule(params)


def check_genesis_params(params: Params) -> None:
    """Raises ParameterError as ``check_params``, and where what only genesis reads contradicts the rest."""
    check_params(params)
    if params.base_fee_initial < params.base_fee_min:
        raise ParameterError(
            "base_fee_initial is below base_fee_min",
            value=params.base_fee_initial,
            remedy=f"at least {params.base_fee_min}",
        )


def check_bounds(name: str, value: int | tuple[int, int]) -> None:
    """Raises ParameterError where a value is outside the parameter's bounds."""
    spec = SPECS[name]
    for part in value if isinstance(value, tuple) else (value,):
        if not spec.low <= part <= spec.high:
            raise ParameterError(
                f"{name} is out of bounds", value=part, remedy=f"from {spec.low} to {spec.high}"
            )
    if isinstance(value, tuple) and not value[0] < value[1]:
        raise ParameterError(
            f"{name} is no ratio below one",
            value=f"{value[0]}/{value[1]}",
            remedy="give two whole numbers, the first below the second",
        )


def _target_within_max(params: Params) -> None:
    if params.block_weight_target > params.block_weight_max:
        raise ParameterError(
            "block_weight_target is above block_weight_max",
            value=params.block_weight_target,
            remedy=f"at most {params.block_weight_max}",
        )


def _unbonding_covers_evidence(params: Params) -> None:
    """A validator may take its stake out in the first block of an epoch and contradict itself in it all the same, since a set
    is fixed for its epoch; the state keeps that set for so many epochs more. Until then its stake must be within reach."""
    window = (params.evidence_epochs + 1) * params.epoch_blocks
    if params.unbonding_blocks < window:
        raise ParameterError(
            "unbonding_blocks is shorter than the evidence window, so a double voter could be paid before it is convicted",
            value=params.unbonding_blocks,
            remedy=f"at least {window}, which is (evidence_epochs + 1) * epoch_blocks; or fewer evidence_epochs",
        )


def _season_shares_within_whole(params: Params) -> None:
    shares = params.season_contributors_bps + params.season_validators_bps + params.season_workers_bps
    if shares > BPS:
        raise ParameterError(
            "the roles' shares of a season's pool are more than the whole",
            value=shares,
            remedy=f"{BPS} at most in all",
        )


RULES: Final[tuple[Rule, ...]] = (_target_within_max, _unbonding_covers_evidence, _season_shares_within_whole)
"""Rules between parameters; each raises ParameterError. They hold of what is in force, and of what the next epoch brings."""
