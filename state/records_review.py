"""What the state holds of campaigns, submissions, batches, seats and pay. Data only; rows are named in ``schema``.

Amounts in nanoOMNIT, times as height and milliseconds, ratios in basis points. ``label`` of a status is its name for people.
"""

from enum import IntEnum

from omnitensor.protocol.bodies import DuplicateOf
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
from omnitensor.protocol.types import (
    U16,
    U32,
    U64,
    AddressF,
    AmountF,
    BatchIdF,
    Bps,
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


class BatchPhase(Labelled):
    FROZEN = 0
    """Content is fixed; the beacon that draws the seats does not exist yet, or nobody could sit so far."""
    COMMIT = 1
    REVEAL = 2
    DONE = 3
    GOLD = 4
    """The reports are open; the sponsor says which items were gold."""
    SECOND = 5
    """The first verdict is there; what went to a second round must come back before the reviewers are paid."""


class BatchOutcome(Labelled):
    PENDING = 0
    VERDICT = 1
    NO_QUORUM = 2
    """Too few reports, after every redraw: all items undecided."""
    NOBODY = 3
    """Nobody could sit: all items undecided."""


class SeatState(Labelled):
    SEATED = 0
    ACCEPTED = 1
    COMMITTED = 2
    REVEALED = 3
    DECLINED = 4
    MISSED = 5
    """No report was committed in time."""
    WITHHELD = 6
    """A committed report was not revealed in time."""
    RELEASED = 7
    """Let go without fault: the batch ended before its turn."""
    LEAKED = 8
    """Somebody else opened its commitment before the time."""
    CONTRADICTED = 9
    """Its validator signed two reports for it."""


SEATS_LIVE = (SeatState.SEATED, SeatState.ACCEPTED, SeatState.COMMITTED, SeatState.REVEALED)
"""Seats whose bond is held."""


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


class BatchGold(Record, frozen=True):
    """An item of a batch that turned out to be gold: its place, its index in the campaign's tree, and which criteria pass."""

    place: U16
    index: U32
    bits: U16
    voided: bool = False
    """The committee contradicted it."""


class Batch(Record, frozen=True):
    """Items reviewed together, and the windows of their review. The windows end early when all seats have done their part.

    A second round is a batch of its own.
    """

    campaign: CampaignIdF
    round: U16
    """1 or 2."""
    origin: BatchIdF
    """Of a second round: the batch of the first; else 0."""
    second: BatchIdF
    """The batch in which the items go that the first round did not settle; 0 without one. Appeals have batches of their own."""
    appellant: bytes
    """Whoever appealed, who may not sit; empty without an appeal."""
    asked: U16
    """Seats to be drawn."""
    thin: bool
    """Members of the first round could be drawn, because fewer fresh reviewers existed than a second round needs."""
    items: tuple[ItemIdF, ...]
    contributors: tuple[AddressF, ...]
    """Sorted; none of them may sit."""
    phase: U16
    """A BatchPhase."""
    outcome: U16
    """A BatchOutcome."""
    fee: AmountF
    """One reviewer's for the whole batch, at most."""
    bond: AmountF
    """What each seat holds of its validator's stake."""
    seats: tuple[AddressF, ...]
    """Everyone who was ever drawn, in order; what became of each is in its seat."""
    draws: U32
    """Draws so far: each has its own seed."""
    redraws: U16
    """Draws to replace reports that did not come."""
    formed_at: HeightF
    draw_at: HeightF
    """The block whose beacon draws the first seats, or the first block after it in which somebody can sit."""
    places: U16
    """Seats that a verdict reckons with: drawn, less declined ones that nobody took."""
    vacancies: tuple[U16, ...]
    """Declined seats to be drawn again at the end of this block: how many came before in each place."""
    accept_until: HeightF
    """For the latest seats; one drawn earlier has its own ``drawn_at``."""
    commit_until: HeightF
    reveal_from: HeightF
    """0 until the reveal opens."""
    reveal_until: HeightF
    gold_until: HeightF
    """0 until the sponsor is asked for gold."""
    gold_said: bool
    """The sponsor has answered."""
    gold: tuple[BatchGold, ...]
    decided_at: HeightF
    """Height of the verdict; 0 until then."""
    settle_at: HeightF
    """Up to this height its verdicts can be appealed, then its items are settled; 0 before the verdict."""
    settled: bool
    """The challenge window is over, and everything paid."""


class Seat(Record, frozen=True):
    """One validator's place in a batch and round."""

    state: U16
    """A SeatState."""
    drawn_at: HeightF
    bond: AmountF
    """Held of its validator's stake; 0 once released or taken."""
    fills: U16
    """How many declined seats came before it in its place."""
    commitment: bytes
    """Empty until committed."""
    sealed: bytes
    """The report under a key of its reviewer's, until it is revealed."""
    report: bytes
    """Four bytes an item, once revealed."""
    duplicates: tuple[DuplicateOf, ...]
    """What the items that it flags as duplicates repeat."""
    vote: U16
    """Weight of its report in the verdict; 0 before."""
    paid: AmountF
    penalty: AmountF
    quality_bps: int
    """The reviewer's standing after this batch."""
    closeness_bps: Bps
    peer_bps: int
    """Points against peers in this batch; 0 also where there was nothing to hold it against."""
    gold_bps: int
    """The same against gold."""


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
