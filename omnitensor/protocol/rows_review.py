"""Rows of batches and seats that a client can check for itself: who judged what, and how. Data only.

Amounts in nanoOMNIT, times as heights, ratios in basis points. ``label`` of a status is its name for people.
"""

from typing import Final

from omnitensor.protocol.bodies import DuplicateOf
from omnitensor.protocol.codec import Record
from omnitensor.protocol.rows import Labelled
from omnitensor.protocol.types import (
    U16,
    U32,
    Address,
    AddressF,
    AmountF,
    BatchId,
    BatchIdF,
    Bps,
    CampaignIdF,
    HeightF,
    ItemIdF,
)

BATCHES_PREFIX: Final = 0x28
SEATS_PREFIX: Final = 0x29


def batch_key(batch: BatchId) -> bytes:
    """Key of a ``Batch``."""
    return bytes([BATCHES_PREFIX]) + batch.to_bytes(8, "big")


def seat_key(batch: BatchId, round_: int, validator: Address) -> bytes:
    """Key of a ``Seat``."""
    return bytes([SEATS_PREFIX]) + batch.to_bytes(8, "big") + round_.to_bytes(8, "big") + validator


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
