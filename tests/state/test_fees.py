"""The base fee: bounded by an eighth a block, still at the target, never stuck."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from omnitensor.protocol.params import Params
from state.ledger.fees import fee_of, next_base_fee

PARAMS = st.builds(
    lambda target, more, change: Params(
        block_weight_target=target, block_weight_max=target + more, base_fee_change_bps=change
    ),
    st.integers(1, 10**7),
    st.integers(0, 10**8),
    st.integers(1, 1_250),
)


@given(PARAMS, st.integers(1, 10**15), st.data())
def test_moves_towards_the_load_by_an_eighth_at_most(params: Params, fee: int, data: st.DataObject) -> None:
    used = data.draw(st.integers(0, params.block_weight_max))
    after = next_base_fee(fee, used, params)
    exact = fee * (1 + Fraction(used - params.block_weight_target, params.block_weight_target) * Fraction(
        params.base_fee_change_bps, 10_000
    ))  # fmt: skip
    most = fee * Fraction(params.base_fee_change_bps, 10_000)
    exact = min(max(exact, fee - most), fee + most)
    if used > params.block_weight_target:
        assert after == max(fee + 1, after)
        assert abs(after - exact) <= 1
    elif used == params.block_weight_target:
        assert after == max(fee, params.base_fee_min)
    else:
        assert after >= params.base_fee_min
        assert abs(after - exact) < 1 or after == params.base_fee_min


@given(st.integers(1, 10**9))
def test_full_blocks_raise_it_without_end_and_empty_ones_bring_it_to_the_least(fee: int) -> None:
    params = Params()
    assert next_base_fee(fee, params.block_weight_max, params) > fee
    for _ in range(400):
        fee = next_base_fee(fee, 0, params)
    assert fee <= 8  # from there an eighth is below one unit
    assert next_base_fee(1, params.block_weight_max, params) == 2


def test_fee_is_weight_times_base_fee() -> None:
    assert fee_of(604, 100) == 60_400
