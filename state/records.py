"""What the state holds: the value of every row that is not of a campaign or a review. Data only; rows are named in ``schema``."""

from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from omnitensor.protocol.blocks import Event, Header, Receipt
from omnitensor.protocol.codec import Record
from omnitensor.protocol.limits import validators_max
from omnitensor.protocol.rows import Account as Account
from omnitensor.protocol.rows import Multisig as Multisig
from omnitensor.protocol.rows import Vault as Vault
from omnitensor.protocol.types import (
    U16,
    U32,
    U64,
    AddressF,
    Amount,
    AmountF,
    BlsPublicKey,
    BlsPublicKeyF,
    Bps,
    EpochF,
    HashF,
    Height,
    HeightF,
    ViewF,
)
from omnitensor.protocol.votes import FinalityProof, ValidatorEntry


class Unit(Record, frozen=True):
    """A row whose key says everything."""


UNIT = Unit()


class PotTotal(Record, frozen=True):
    """What a named pot of the chain holds, in nanoOMNIT."""

    amount: AmountF


class Counter(Record, frozen=True):
    """A consecutive number: the next one to give out."""

    next: U64


class SessionKey(Record, frozen=True):
    """A key that may sign orders of some scopes for its owner, up to and including a height.

    ``allowance`` is what is left of what it may take from its owner's balance, as fees, tips and bonds.
    """

    owner: AddressF
    scopes: U16
    valid_until: HeightF
    allowance: AmountF


class Validator(Record, frozen=True):
    """A registered validator. ``stake`` is its own, without what is unbonding; ``held`` of it is bonded to open seats.

    Others' stake is in ``delegated``; what votes and draws weigh by is both (``validators.power``).
    """

    stake: AmountF
    held: AmountF
    unbonding: AmountF
    unbonding_count: U32
    consensus_key: BlsPublicKeyF
    commission_bps: Bps
    name: str
    jailed: bool
    registered_at: HeightF
    removed: bool = False
    """It was convicted, and is never a validator again; ``jailed`` is set with it."""
    delegated: AmountF = Amount(0)
    """What others delegated to it, without what is on its way back to them."""
    shares: U64 = 0
    """Shares in what is delegated; a delegation is a number of them. Never fewer than nanoOMNIT delegated."""
    leaving: AmountF = Amount(0)
    """Delegated stake on its way back to its delegators,"""
    leaving_count: U64 = 0
    """and in how many undelegations."""
    commission_raised_at: HeightF = Height(0)
    """When its commission last went up; the height of its registration before that."""

    def with_stake(self, stake: int) -> "Validator":
        return replace(self, stake=stake)

    def edited(self, consensus_key: BlsPublicKey, commission_bps: int, name: str) -> "Validator":
        return replace(self, consensus_key=consensus_key, commission_bps=commission_bps, name=name)

    def with_held(self, held: int) -> "Validator":
        return replace(self, held=held)

    def with_unbonding(self, stake: int, unbonding: int, count: int) -> "Validator":
        return replace(self, stake=stake, unbonding=unbonding, unbonding_count=count)


class Unbonding(Record, frozen=True):
    """Stake on its way back to its validator's account, to be paid at the height in its key."""

    amount: AmountF


class ValidatorSet(Record, frozen=True):
    """The voters of an epoch, and the seed that draws its leaders. Both are read at the boundary below it and never change."""

    seed: HashF
    """The beacon after the boundary; zero in epoch 0, whose seed is the hash of the genesis block."""
    entries: Annotated[tuple[ValidatorEntry, ...], Meta(min_length=1, max_length=validators_max)]
    """Sorted by address."""


class Conviction(Record, frozen=True):
    """Why a validator was removed: what it signed twice and where, who showed it, and what became of the money."""

    fault: U16
    """An ``omnitensor.protocol.evidence.Fault``."""
    epoch: EpochF
    view: ViewF
    evidence: HashF
    height: HeightF
    reporter: AddressF
    slashed: AmountF
    burned: AmountF
    reward: AmountF


# -- rows of the chain itself, outside the state


class HeadRow(Record, frozen=True):
    """The last committed block, and what the next one continues: the tree over all block hashes."""

    height: HeightF
    hash: HashF
    history: tuple[HashF, ...]
    """Roots of the perfect subtrees over the hashes of all blocks up to this one, the largest first."""


class IndexRebuild(Record, frozen=True):
    """How far a rebuild of the indexes has come: the step, and the key of the last source that is done in it."""

    step: U16
    at: bytes


class HashRow(Record, frozen=True):
    """A node of the tree over the hashes of all blocks."""

    hash: HashF


class PageRow(Record, frozen=True):
    """A page of the state's trie (see ``omnitensor.protocol.state_proof``)."""

    entries: bytes


class HeightRow(Record, frozen=True):
    """Where a block is."""

    height: HeightF


class PlacedReceipt(Record, frozen=True):
    """A receipt, and where its transaction is."""

    height: HeightF
    index: U32
    receipt: Receipt


class BlockEvents(Record, frozen=True):
    """Events of a block itself."""

    events: tuple[Event, ...]


class TransactionRef(Record, frozen=True):
    """A transaction by its id."""

    id: HashF


class StepRow(Record, frozen=True):
    """What leads from an epoch to the next: its last header, why that is final, and who votes next."""

    header: Header
    proof: FinalityProof
    voters: Annotated[tuple[ValidatorEntry, ...], Meta(min_length=1, max_length=validators_max)] | None
    """The next epoch's; None where they are the same, with the same keys and weights."""


class GenesisRow(Record, frozen=True):
    """The genesis as its canonical bytes."""

    encoded: bytes
