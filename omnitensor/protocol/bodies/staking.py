"""Orders about validators and stake. Data only."""

from typing import Annotated, ClassVar

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.bodies.base import BodyBase
from omnitensor.protocol.types import (
    AddressF,
    AmountF,
    BlsPublicKeyF,
    BlsSignatureF,
    Bps,
)


class ValidatorRegister(BodyBase, frozen=True, tag=20):
    """Makes the sender a validator with its own stake. The proof of possession covers the consensus key."""

    KIND: ClassVar[str] = "validator_register"
    stake: AmountF
    consensus_key: BlsPublicKeyF
    proof_of_possession: BlsSignatureF
    commission_bps: Bps
    name: Annotated[str, Meta(max_length=limits.name_chars_max)]

    def weight(self) -> int:
        # The proof of possession takes two pairings, about as long as thirty transfers.
        return 15_000


class ValidatorEdit(BodyBase, frozen=True, tag=23):
    """Changes the sender's validator; what is None stays. A key comes with its proof of possession.

    A new key votes from the next epoch on. The old one is never used again.
    """

    KIND: ClassVar[str] = "validator_edit"
    consensus_key: BlsPublicKeyF | None
    proof_of_possession: BlsSignatureF | None
    commission_bps: Bps | None
    name: Annotated[str, Meta(max_length=limits.name_chars_max)] | None

    def weight(self) -> int:
        return 0 if self.consensus_key is None else 15_000  # as a registration


class ValidatorUnjail(BodyBase, frozen=True, tag=24):
    """Lets the sender out of jail once its time there is over: it may be among the voters again from the next epoch on."""

    KIND: ClassVar[str] = "validator_unjail"


class StakeAdd(BodyBase, frozen=True, tag=21):
    KIND: ClassVar[str] = "stake_add"
    amount: AmountF


class StakeWithdraw(BodyBase, frozen=True, tag=22):
    """Takes stake out of a validator; it is paid after the unbonding time and can be slashed until then."""

    KIND: ClassVar[str] = "stake_withdraw"
    amount: AmountF


class Delegate(BodyBase, frozen=True, tag=25):
    """Stakes with a validator without being one: it weighs for it, earns, and can be slashed."""

    KIND: ClassVar[str] = "delegate"
    validator: AddressF
    amount: AmountF

    def weight(self) -> int:
        # It visits a delegation, and with it the redelegations that it came by: so do the next two, the last one for two.
        return 1_500


class Undelegate(BodyBase, frozen=True, tag=26):
    """Takes stake back from a validator; it is paid after the unbonding time and can be slashed until then."""

    KIND: ClassVar[str] = "undelegate"
    validator: AddressF
    amount: AmountF | None
    """None: everything."""

    def weight(self) -> int:
        return 2_500


class Redelegate(BodyBase, frozen=True, tag=27):
    """Moves stake from one validator to another at once. For the unbonding time it can be slashed for both."""

    KIND: ClassVar[str] = "redelegate"
    source: AddressF
    target: AddressF
    amount: AmountF | None
    """None: everything that may be moved."""

    def weight(self) -> int:
        return 4_000


class RewardsClaim(BodyBase, frozen=True, tag=28):
    """Pays out the sender's rewards of delegations to these validators; its own name stands for what it earned as a validator."""

    KIND: ClassVar[str] = "rewards_claim"
    validators: Annotated[tuple[AddressF, ...], Meta(min_length=1, max_length=limits.claim_validators_max)]

    def weight(self) -> int:
        return 100 * len(self.validators)
