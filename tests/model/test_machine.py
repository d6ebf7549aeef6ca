"""The steps of the long histories under Hypothesis, which looks for short ones that fail and makes them shorter."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.model.orders import ORDERS, step
from tests.model.scene import Scene


class LedgerMachine(RuleBasedStateMachine):
    """Hypothesis picks kinds and chances; the scene compares at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene()

    @rule(kind=st.sampled_from(list(ORDERS)), chance=st.randoms(use_true_random=False))
    def order(self, kind: str, chance: Any) -> None:
        step(self.scene, chance, kind)

    @rule(
        kinds=st.lists(st.sampled_from(list(ORDERS)), min_size=4, max_size=12),
        chance=st.randoms(use_true_random=True),
    )
    def busy_block(self, kinds: list[str], chance: Any) -> None:
        """More in one step than Hypothesis would choose one by one."""
        for kind in kinds:
            step(self.scene, chance, kind)
        self.scene.end_block()

    @rule(count=st.integers(1, 4))
    def end_blocks(self, count: int) -> None:
        for _ in range(count):
            self.scene.end_block()

    def teardown(self) -> None:
        try:
            self.scene.close()
        finally:
            self.scene.stop()


TestLedgerMachine = pytest.mark.slow(LedgerMachine.TestCase)
TestLedgerMachine.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
