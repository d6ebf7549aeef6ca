"""Parameters that would divide by zero, or pay more than the fee, are refused before a chain begins with them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from omnitensor.protocol.params import Params
from omnitensor.protocol.types import BPS
from state.ledger import pay, scoring
from state.parameters import ParameterError, check_params


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
