"""A small chain whose validators are voters from genesis on, for tests of delegation and rewards; it skips quiet blocks."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from omnitensor.protocol.bodies import (
    BodyBase,
    Delegate,
    Redelegate,
    RewardsClaim,
    Undelegate,
    ValidatorEdit,
)
from omnitensor.protocol.types import Amount, Epoch, Hash
from state.ledger import epochs, rewards, slashing
from state.ledger.accounts import Pot, pot
from state.overlay import Overlay
from state.records import Validator
from state.records_stake import Delegation
from state.schema import DELEGATIONS, VALIDATORS
from tests.ledger.world import OMNIT, QUICK, World, address_of

DAY = 86_400_000
SLOW = replace(QUICK, epoch_blocks=1_440, block_interval_ms=60_000, unbonding_blocks=4_320, evidence_epochs=2)
"""An epoch is a day, and unbonding takes three."""


class Stakes(World):
    """`to_boundary` and `pass_epochs` skip the blocks in which nothing would happen."""

    def __init__(self, validators: int = 3, params: Any = SLOW, **more: Any) -> None:
        more.setdefault("people", ("ann", "ben", "cyd", "dan"))
        super().__init__(validators=validators, params=params, **more)
        overlay = Overlay(self.base)
        epochs.begin(overlay, Epoch(0), Hash(bytes(32)), epochs.choose(overlay, params))
        self.base.apply(overlay)
        self.view = Overlay(self.base)

    @property
    def epoch(self) -> int:
        return max(self.height - 1, 0) // self.params.epoch_blocks

    def to_boundary(self) -> list[dict[str, Any]]:
        """Executes the last block of the epoch that the next block is in; what it paid to validators."""
        epoch = self.height // self.params.epoch_blocks
        self.height = (epoch + 1) * self.params.epoch_blocks - 1
        outcome = self.block()
        return [dict(each.fields) for each in outcome.result.events if each.kind == "reward.paid"]

    def pass_epochs(self, count: int) -> None:
        for _ in range(count):
            self.to_boundary()

    def code(self, who: str, body: BodyBase) -> str:
        return self.do(who, body).code

    def delegate(self, who: str, validator: str, amount: int) -> str:
        return self.code(who, Delegate(address_of(validator), Amount(amount)))

    def undelegate(self, who: str, validator: str, amount: int | None = None) -> str:
        return self.code(who, Undelegate(address_of(validator), None if amount is None else Amount(amount)))

    def redelegate(self, who: str, source: str, target: str, amount: int | None = None) -> str:
        wanted = None if amount is None else Amount(amount)
        return self.code(who, Redelegate(address_of(source), address_of(target), wanted))

    def claim(self, who: str, *validators: str) -> str:
        return self.code(who, RewardsClaim(tuple(map(address_of, validators))))

    def set_commission(self, who: str, bps: int) -> str:
        return self.code(who, ValidatorEdit(None, None, bps, None))

    def slash(self, validator: str, bps: int) -> int:
        """As a conviction would, without removing anybody."""
        ctx = self.context(self.height)
        amount = slashing.slash(self.view, ctx, address_of(validator), bps)
        slashing.forfeit(self.view, ctx, Pot.STAKE, amount)
        self.base.apply(self.view)
        self.view = Overlay(self.base)
        return amount

    def row(self, validator: str) -> Validator:
        row = self.view.get(VALIDATORS, address_of(validator))
        assert row is not None
        return row

    def delegation(self, who: str, validator: str) -> Delegation | None:
        return self.view.get(DELEGATIONS, address_of(who), address_of(validator))

    def owed(self, who: str, validator: str) -> int:
        """Rewards that a delegation could claim in the next block."""
        held = self.delegation(who, validator)
        epoch = Epoch(self.height // self.params.epoch_blocks)
        return rewards.owed(self.view, epoch, address_of(validator), held) if held else 0

    def pot(self, which: Pot) -> int:
        return pot(self.view, which)


def whole(amount: int) -> int:
    return amount * OMNIT
