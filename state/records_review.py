"""What the state holds of campaigns, submissions, batches, seats and pay. Data only; rows are named in ``schema``.

Amounts in nanoOMNIT, times as height and milliseconds, ratios in basis points. ``label`` of a status is its name for people.
"""

from enum import IntEnum

from omnitensor.protocol.codec import Record
from omnitensor.protocol.rows import BaseRates as BaseRates
from omnitensor.protocol.rows import Campaign as Campaign
from omnitensor.protocol.rows import CampaignStatus as CampaignStatus
from omnitensor.protocol.rows import Escalation as Escalation
from omnitensor.protocol.rows import Escrow as Escrow
from omnitensor.protocol.rows import Item as Item
from omnitensor.protocol.rows import ItemCounts as ItemCounts
from omnitensor.protocol.rows import ItemStatus as ItemStatus
from omnitensor.protocol.rows import Labelled as Labelled
from omnitensor.protocol.rows import StatusChange as StatusChange
from omnitensor.protocol.rows_review import SEATS_LIVE as SEATS_LIVE
from omnitensor.protocol.rows_review import Batch as Batch
from omnitensor.protocol.rows_review import BatchGold as BatchGold
from omnitensor.protocol.rows_review import BatchOutcome as BatchOutcome
from omnitensor.protocol.rows_review import BatchPhase as BatchPhase
from omnitensor.protocol.rows_review import Seat as Seat
from omnitensor.protocol.rows_review import SeatState as SeatState
from omnitensor.protocol.types import (
    U16,
    U32,
    U64,
    AddressF,
    AmountF,
    BatchIdF,
    CampaignIdF,
    HashF,
    HeightF,
    ItemIdF,
    TimeMsF,
)


class SubmissionStatus(Labelled):
    COMMITTED = 0
    REVEALED = 1
    EXPIRED = 2
    """Not revealed in time; the bond was returned."""


class Submission(Record, frozen=True):
    """A bundle of items of one contributor. ``sequence`` orders commits over the whole chain: the earlier one owns a content."""

    contributor: AddressF
    sequence: U64
    count: U32
    item_bond: AmountF
    status: U16
    """A SubmissionStatus."""
    committed_at: HeightF
    committed_ms: TimeMsF
    reveal_until: HeightF
    first_item: ItemIdF
    """The first of ``count`` consecutive items; 0 until revealed."""


class Holder(Record, frozen=True):
    """Whose content it is in a campaign: an item, and its submission's sequence."""

    item: ItemIdF
    sequence: U64


class QueuedItem(Record, frozen=True):
    """An item waiting for a batch."""

    contributor: AddressF
    queued_at: HeightF


class Count(Record, frozen=True):
    """A number of things."""

    number: U64


class AppealState(Labelled):
    OPEN = 0
    TURNED = 1
    """The second round said otherwise: the bond returned."""
    UPHELD = 2
    """It said the same: the bond paid for it."""
    VOID = 3
    """No second round came about: the first verdict stands, and the bond returned."""


class Appeal(Record, frozen=True):
    """Somebody's objection to a verdict."""

    appellant: AddressF
    bond: AmountF
    """Held while open."""
    appealed_at: HeightF
    batch: BatchIdF
    state: U16
    """An AppealState."""


class GoldSet(Record, frozen=True):
    """A campaign's gold: what its sponsor bound itself to, and how much of it is accounted for."""

    root: HashF
    count: U32
    bond_each: AmountF
    """Held for each that is neither returned nor taken."""
    committed_at: HeightF
    returned: U32
    """Confirmed by a committee, or opened as unused."""
    taken: U32
    """Voided, or withheld from its batch, or never opened."""


class Reputation(Record, frozen=True):
    """Sums and weights of three decayed averages: all scores, gold alone, peers alone. Sums may be negative."""

    total_sum: int = 0
    total_weight: int = 0
    gold_sum: int = 0
    gold_weight: int = 0
    peer_sum: int = 0
    peer_weight: int = 0


class Reviewer(Record, frozen=True):
    """A validator's record as a reviewer; what its open seats hold of its stake is in the validator's own row."""

    reputation: Reputation
    seats_open: U32
    reports: U64
    """Scored, ever."""
    missed: U64
    """Seats that cost it for a report that did not come."""


class Payment(Record, frozen=True):
    """Something that came to an account, or was taken from it; ``item`` or ``batch`` is 0 where it has none."""

    height: HeightF
    timestamp_ms: TimeMsF
    kind: str
    """``contribution``, ``review``, ``penalty``, ``bond`` or ``refund``."""
    amount: AmountF
    campaign: CampaignIdF
    item: ItemIdF
    batch: BatchIdF


class Earnings(Record, frozen=True):
    """What an account earned in its lifetime, by kind, and its latest payments (the newest first)."""

    contribution: U64
    review: U64
    pending: U64
    """Accepted, and paid when its challenge window ends."""
    penalties: U64
    items_submitted: U64
    items_accepted: U64
    items_rejected: U64
    items_undecided: U64
    recent: tuple[Payment, ...]


class DueKind(IntEnum):
    """What is to be looked at when its height comes; in a block they are taken in this order."""

    SUBMISSION = 0
    """Reveal window of a submission; the id is its sequence."""
    CAMPAIGN = 1
    """Deadline of a campaign."""
    QUEUE = 2
    """A campaign's queue may give a batch."""
    BATCH = 3
    """A window of a batch ended, or its seats are to be drawn, or all did their part."""
    SETTLE = 4
    """Challenge window of a batch."""
    GOLD = 5
    """Bonds of gold that an ended campaign's sponsor did not open."""


class Due(Record, frozen=True):
    """A thing to look at. The row says where it is, beyond the id in its key."""

    campaign: CampaignIdF
    commitment: bytes
    """Of a submission; else empty."""
    account: bytes
    """A submission's contributor; else empty."""
