"""The table of parameters: its page, its bounds, and that no single value in bounds goes unexplained."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.parameter import Takes
from omnitensor.protocol.parameter_page import PAGE, page
from omnitensor.protocol.parameter_rules import (
    ParameterError,
    check_genesis_params,
    check_params,
    params_from,
)
from omnitensor.protocol.params import DEFAULTS, SPECS, Params

INTEGERS = [name for name in SPECS if isinstance(getattr(DEFAULTS, name), int)]
RATIOS = [name for name in SPECS if isinstance(getattr(DEFAULTS, name), tuple)]


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "write it anew: python -m omnitensor.protocol.parameter_page"
    )


def test_the_defaults_can_be_lived_with() -> None:
    check_genesis_params(DEFAULTS)
    assert sorted([*INTEGERS, *RATIOS]) == sorted(SPECS)


@pytest.mark.parametrize("name", SPECS)
def test_what_is_in_bounds_has_a_place_in_the_record(name: str) -> None:
    """The decoder takes whatever the bounds take, or a chain could set what it can't read."""
    spec = SPECS[name]
    assert spec.about.endswith(".")
    assert spec.unit
    for edge in (spec.low, spec.high):
        value = edge if name in INTEGERS else (edge, edge)
        changed = replace(DEFAULTS, **{name: value})
        assert decode(Params, encode(changed)) == changed
        assert params_from({name: value}) == changed


@pytest.mark.parametrize("name", SPECS)
def test_beyond_the_bounds_is_refused_with_the_bounds(name: str) -> None:
    spec = SPECS[name]
    for edge in (spec.low - 1, spec.high + 1):
        value = edge if name in INTEGERS else (edge, edge + 1)
        with pytest.raises(ParameterError, match=name) as error:
            check_params(replace(DEFAULTS, **{name: value}))
        assert error.value.remedy == f"from {spec.low} to {spec.high}"


@pytest.mark.parametrize("name", RATIOS)
def test_a_ratio_is_below_one(name: str) -> None:
    for value in ((3, 3), (4, 3)):
        with pytest.raises(ParameterError, match="no ratio below one"):
            check_params(replace(DEFAULTS, **{name: value}))


def test_rules_between_parameters() -> None:
    with pytest.raises(ParameterError, match="block_weight_target is above"):
        check_params(replace(DEFAULTS, block_weight_max=DEFAULTS.block_weight_target - 1))
    with pytest.raises(ParameterError, match="shorter than the evidence window"):
        check_params(replace(DEFAULTS, evidence_epochs=DEFAULTS.evidence_epochs + 1))
    dear = replace(DEFAULTS, base_fee_min=DEFAULTS.base_fee_initial + 1)
    check_params(dear)
    with pytest.raises(ParameterError, match="base_fee_initial"):
        check_genesis_params(dear)


def test_unknown_names_and_forms_are_refused_by_name() -> None:
    with pytest.raises(ParameterError, match="no such parameter") as error:
        params_from({"tax": 1})
    assert error.value.value == "tax"
    assert error.value.remedy == "see docs/specification/parameters.md"
    with pytest.raises(ParameterError) as error:
        params_from({"block_intervall_ms": 1})
    assert error.value.value == "block_intervall_ms"
    assert error.value.remedy == "write block_interval_ms, or see docs/specification/parameters.md"
    with pytest.raises(ParameterError, match="no such parameter"):
        params_from({"block_interval_ms" * 10_000: 1})
    for name, value in (("delta_ms", "1"), ("reputation_decay", 7), ("reputation_decay", [1, 2, 3])):
        with pytest.raises(ParameterError, match=name):
            params_from({name: value})


def test_what_is_fixed_says_why() -> None:
    fixed = {name for name, spec in SPECS.items() if spec.takes is Takes.GENESIS}
    assert fixed == {"epoch_blocks", "base_fee_initial", "first_campaign_id"}
    assert all(f"fixed: {SPECS[name].fixed_because}" in page() for name in fixed)
