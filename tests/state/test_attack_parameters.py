"""Parameters that would divide by zero, or pay more than the fee, are refused before a chain begins with them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from omnitensor.protocol.parameter_rules import ParameterError, check_params
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import BPS
from state.ledger import pay, scoring


@pytest.mark.parametrize(("name", "value"), [("peer_clip_bps", BPS), ("closeness_base_bps", BPS + 1)])
def test_refused(name: str, value: int) -> None:
    with pytest.raises(ParameterError) as error:
        check_params(replace(Params(), **{name: value}))
    assert name in error.value.reason


def test_the_extremes_that_are_taken_can_be_reckoned_with() -> None:
    params = replace(Params(), peer_clip_bps=BPS - 1, closeness_base_bps=BPS)
    check_params(params)
    for prior in (0, BPS):
        for bit in (0, 1):
            assert scoring.points(bit, bit, prior, params.peer_clip_bps) >= 0
    assert pay.settle(10**18, BPS, BPS, params) == (10**18, 0)


# What is reckoned here with words of its own: the last height at which a set is still kept, and the first at which a withdrawal
# made in its epoch is paid.
@pytest.mark.parametrize(("epoch_blocks", "evidence_epochs"), [(2, 2), (10, 3), (600, 2_015), (7, 100_000)])
def test_stake_is_never_paid_before_the_evidence_window_is_over(
    epoch_blocks: int, evidence_epochs: int
) -> None:
    """A validator withdraws in the first block of an epoch and votes twice in it: it is in reach while the set is kept."""
    epoch = 5
    withdrawn_at = epoch * epoch_blocks + 1
    forgotten_after = (epoch + evidence_epochs + 1) * epoch_blocks  # at the end of this boundary block
    enough = (evidence_epochs + 1) * epoch_blocks
    assert withdrawn_at + enough > forgotten_after
    params = replace(
        Params(), epoch_blocks=epoch_blocks, evidence_epochs=evidence_epochs, unbonding_blocks=enough
    )
    check_params(params)
    for short in (enough - 1, enough // 2, 1):
        with pytest.raises(ParameterError, match="evidence window") as error:
            check_params(replace(params, unbonding_blocks=short))
        assert error.value.value == str(short)
        assert str(enough) in (error.value.remedy or "")
