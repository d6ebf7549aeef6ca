"""Rows of the state that a client can check for itself: where they are, and what they hold. Data only.

A row's key is its table's prefix byte, then the parts of the key (``state.schema`` has all tables); its value is the record's
canonical bytes. Both are what a state proof is about.

Amounts in nanoOMNIT, times as height and milliseconds, ratios in basis points.
"""

from enum import IntEnum
from typing import Annotated, Final

from msgspec import Meta
from msgspec.structs import replace

from omnitensor.protocol.bodies import CampaignSpec
from omnitensor.protocol.codec import Record
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.multisig import Policy
from omnitensor.protocol.types import (
    U16,
    U64,
    Address,
    AddressF,
    AmountF,
    BatchIdF,
    Bps,
    CampaignId,
    CampaignIdF,
    EpochF,
    HashF,
    HeightF,
    ItemId,
    TimeMsF,
)

ACCOUNTS_PREFIX: Final = 0x11
CAMPAIGNS_PREFIX: Final = 0x20
ITEMS_PREFIX: Final = 0x24
PRIVATE_ITEMS_PREFIX: Final = 0x65
DELEGATIONS_PREFIX: Final = 0x30

FIXED_BYTES: Final = 16
"""Numbers beyond 64 bits are so many bytes, big-endian, since msgpack has no larger integers."""
FixedF = Annotated[bytes, Meta(min_length=FIXED_BYTES, max_length=FIXED_BYTES)]
MULTISIGS_PREFIX: Final = 0x1E
VAULTS_PREFIX: Final = 0x1F


def account_key(address: Address) -> bytes:
    """Key of an ``Account``."""
    return bytes([ACCOUNTS_PREFIX]) + address


def campaign_key(campaign: CampaignId) -> bytes:
    """Key of a ``Campaign``."""
    return bytes([CAMPAIGNS_PREFIX]) + campaign.to_bytes(8, "big")


def item_key(item: ItemId) -> bytes:
    """Key of an ``Item``."""
    return bytes([ITEMS_PREFIX]) + item.to_bytes(8, "big")


def private_item_key(item: ItemId) -> bytes:
    """Key of a ``PrivateItem``: what an encrypted item was declared with."""
    return bytes([PRIVATE_ITEMS_PREFIX]) + item.to_bytes(8, "big")


def multisig_key(address: Address) -> bytes:
    """Key of a ``Multisig``."""
    return bytes([MULTISIGS_PREFIX]) + address


def vault_key(address: Address) -> bytes:
    """Key of a ``Vault``."""
    return bytes([VAULTS_PREFIX]) + address


def delegation_key(delegator: Address, validator: Address) -> bytes:
    """Key of a ``Delegation``."""
    return bytes([DELEGATIONS_PREFIX]) + delegator + validator


class Account(Record, frozen=True):
    """Spendable balance in nanoOMNIT, and the nonce that the account's next transaction must have."""

    balance: AmountF
    nonce: U64


class Multisig(Record, frozen=True):
    """A multisignature account that has ordered something: its members, and the sequence number of its next order."""

    policy: Policy
    sequence: U64


class Vault(Record, frozen=True):
    """An account of locked money: whose it is, and when it opens. What it holds is its balance as an account."""

    holder: AddressF
    granter: AddressF
    """Whose money it was; zeros where it is from genesis."""
    total: AmountF
    """What was locked at first."""
    start_ms: TimeMsF
    cliff_ms: TimeMsF
    end_ms: TimeMsF
    withdrawn: U64
    """What its holder took so far."""

    def with_withdrawn(self, withdrawn: int) -> "Vault":
        return replace(self, withdrawn=withdrawn)


def vested(vault: Vault, now_ms: int) -> int:
    """nanoOMNIT of a vault's total that have vested at a time: nothing before the cliff, then by the time passed."""
    if now_ms < vault.cliff_ms:
        return 0
    if now_ms >= vault.end_ms:
        return vault.total
    return vault.total * (now_ms - vault.start_ms) // (vault.end_ms - vault.start_ms)


class Labelled(IntEnum):
    """A number in the state with a name for people."""

    @property
    def label(self) -> str:
        return self.name.lower()


class CampaignStatus(Labelled):
    OPEN = 0
    CLOSING = 1
    """Takes no new commitments; what is under way is finished."""
    CLOSED = 2
    """Ended by its sponsor: everything is settled and the rest returned."""
    EXPIRED = 3
    """Ended by its deadline, likewise."""
    CANCELLED = 4
    """Ended by its sponsor without waiting for what was committed and not shown."""


class ItemStatus(Labelled):
    REVEALED = 0
    QUEUED = 1
    IN_REVIEW = 2
    ACCEPTED = 3
    REJECTED = 4
    UNDECIDED = 5
    PAID = 6
    """Accepted, and fully settled."""
    ESCALATED = 7
    """Waits for a second round."""


class Escalation(Labelled):
    """Why an item went to a second round."""

    NONE = 0
    DISAGREEMENT = 1
    FLAGS = 2
    AUDIT = 3
    """Drawn by lot, whatever the first round said."""
    APPEAL = 4


class Escrow(Record, frozen=True):
    """A campaign's money by what it is for."""

    available: AmountF
    reward: AmountF
    """Reserved for contributors, what waits for the end of the challenge window included."""
    review: AmountF
    escalation: AmountF
    """Reserved for second rounds."""

    @property
    def total(self) -> int:
        return self.available + self.reward + self.review + self.escalation


class BaseRates(Record, frozen=True):
    """How often the reference passed each criterion, over all reports of a campaign scored so far."""

    ones: tuple[U64, U64, U64]
    totals: tuple[U64, U64, U64]


class ItemCounts(Record, frozen=True):
    """Items of a campaign: all that were revealed, then by what they are now."""

    submitted: U64
    queued: U64
    in_review: U64
    accepted: U64
    rejected: U64
    undecided: U64
    paid: U64
    escalated: U64


class Campaign(Record, frozen=True):
    """A sponsor's order for data, its money, and how far it has come."""

    sponsor: AddressF
    spec: CampaignSpec
    status: U16
    """A CampaignStatus."""
    expired: bool
    """Its end came by the deadline, not by the sponsor."""
    cancelled: bool
    """Its sponsor takes nothing in any more, not even what is committed."""
    escrow: Escrow
    counts: ItemCounts
    submissions_open: U64
    """Committed and not yet revealed or expired."""
    admitted: U64
    """Items that reserved money, ever: the whole of which a contributor may have a share."""
    category_counts: tuple[U64, ...]
    """Items that fill each category's target: admitted, and neither rejected for good nor undecided."""
    rejections_open: U64
    """Rejected items that can still be appealed, and hold their reserves until then."""
    base_rates: BaseRates
    gold_rates: BaseRates
    """The same over its gold items, each counted once."""
    funded: U64
    """This and the next four are sums over a lifetime: money that goes round is counted each time, beyond the supply."""
    paid_contributors: U64
    paid_reviewers: U64
    penalties: U64
    """What came in from others' bonds."""
    refunded: U64
    opened_at: HeightF
    opened_ms: TimeMsF
    closing_at: HeightF
    """0 while open."""
    ended_at: HeightF
    """0 until everything is settled."""


class StatusChange(Record, frozen=True):
    status: U16
    """An ItemStatus."""
    height: HeightF
    timestamp_ms: TimeMsF


class Item(Record, frozen=True):
    """A file that somebody contributed, what is reserved for it, and what became of it."""

    campaign: CampaignIdF
    contributor: AddressF
    commitment: HashF
    """Of its submission."""
    sequence: U64
    """Of its submission."""
    content: ContentId
    media_type: str
    tier: U16
    category: U16
    status: U16
    """An ItemStatus."""
    history: tuple[StatusChange, ...]
    fee: AmountF
    """One reviewer's, at most."""
    reward_reserved: AmountF
    review_reserved: AmountF
    escalation_reserved: AmountF
    bond: AmountF
    """Held; 0 once returned or taken."""
    batch: BatchIdF
    """Of its first round; 0 until it is in one."""
    second: BatchIdF
    """Of its second round; 0 without one."""
    open_verdict: BatchIdF
    """The batch whose verdict can still be appealed; 0 before a verdict, and once it is settled."""
    escalation: U16
    """An Escalation."""
    first: U16
    """The ItemStatus that the first round alone would give it: accepted, rejected or undecided; 0 before."""
    bond_cost: AmountF
    """What of its bond the rejection costs, once it can't be appealed any more."""
    displaced: bool
    """An earlier commitment turned out to own its content while it was in review."""
    scores: tuple[U16, ...]
    """Median of each criterion; empty until there is a verdict."""
    overall: U16
    agreement_bps: Bps
    reasons: tuple[str, ...]
    """Why it was rejected or is undecided; while escalated, why the first round would."""
    reward: AmountF
    """What it earned, once accepted."""
    paid: AmountF
    """What of the reward its contributor has."""


class Delegation(Record, frozen=True):
    """What an account delegated to a validator, and up to where its rewards are paid."""

    shares: U64
    joining: U64
    """Those of the shares that came in the epoch ``joined``: they earn from the next one on."""
    joined: EpochF
    """Without meaning while nothing is joining."""
    index: FixedF
    """The validator's reward index up to which rewards of the other shares are paid."""
