"""Orders about locked money. Data only."""

from typing import ClassVar

from omnitensor.protocol.bodies.base import BodyBase
from omnitensor.protocol.bodies.governance import ProposalVote
from omnitensor.protocol.bodies.staking import Delegate, Redelegate, RewardsClaim, Undelegate
from omnitensor.protocol.types import AddressF, AmountF, TimeMsF


class VaultGrant(BodyBase, frozen=True, tag=3):
    """Locks some of the sender's money for a holder, who gets it by a schedule. Nobody can take it back.

    Nothing vests before ``cliff_ms``; from then on the share of the time between ``start_ms`` and ``end_ms`` that has passed.
    """

    KIND: ClassVar[str] = "vault_grant"
    holder: AddressF
    amount: AmountF
    start_ms: TimeMsF
    cliff_ms: TimeMsF
    end_ms: TimeMsF


class VaultWithdraw(BodyBase, frozen=True, tag=4):
    """Moves what has vested out of one of the sender's vaults into its balance."""

    KIND: ClassVar[str] = "vault_withdraw"
    vault: AddressF
    amount: AmountF


VaultOrder = Delegate | Undelegate | Redelegate | RewardsClaim | ProposalVote
"""What a vault can be ordered: what puts its money at stake and back, and the vote that goes with it. Nothing that spends."""


class VaultExecute(BodyBase, frozen=True, tag=5):
    """Carries out an order of one of the sender's vaults; what its stake earns is the sender's at once."""

    KIND: ClassVar[str] = "vault_execute"
    vault: AddressF
    order: VaultOrder

    def weight(self) -> int:
        return 200 + self.order.weight()
