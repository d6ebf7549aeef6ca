"""A committee at its verdict: whose reports count, with what weight, and what they say. Reads seats; decides nothing."""

from typing import Final, NamedTuple

from msgspec.structs import replace

from omnitensor.protocol.bodies import DuplicateOf
from omnitensor.protocol.reviews import Flag, ItemScore, decode_report
from omnitensor.protocol.types import BatchId
from state.ledger import privacy, reputation
from state.ledger.context import BlockContext
from state.ledger.scoring import Bar, Triple
from state.ledger.seats import Seated, quality, seats_of
from state.ledger.verdicts import Findings, find
from state.ledger.view import ReadView, View
from state.records_review import Batch, SeatState
from state.schema import SEATS

UNREAD: Final = ItemScore(0, 0, 0, Flag.UNAVAILABLE)


class Committee(NamedTuple):
    """Those who revealed, in the order drawn: ``read[reviewer][place]``, and the weight of each."""

    sitting: list[Seated]
    read: list[tuple[ItemScore, ...]]
    weights: list[int]
    unread: frozenset[int] = frozenset()
    """Places of private items whose keys not all of them were given: whatever is said of those counts as unavailable."""

    def findings(self, place: int, bar: Bar) -> Findings:
        """What they say of the item in one place."""
        return find([report[place] for report in self.read], self.weights, bar)

    def criteria(self, items: int) -> list[list[Triple]]:
        """Scores by item and reviewer."""
        return [[report[place].criteria for report in self.read] for place in range(items)]


def at_verdict(view: View, ctx: BlockContext, number: BatchId, batch: Batch) -> Committee:
    """The committee as its verdict begins: each report weighs by its reviewer's standing now, which its seat remembers."""
    for one in seats_of(view, number, batch):
        if one.seat.state == SeatState.REVEALED:
            vote = reputation.vote_weight(quality(view, one.validator, ctx.params))
            view.put(SEATS, replace(one.seat, vote=vote), number, batch.round, one.validator)
    return as_decided(view, number, batch)


def as_decided(view: ReadView, number: BatchId, batch: Batch) -> Committee:
    """The committee of a verdict that has been given, without those who lost their seats since."""
    sitting = [one for one in seats_of(view, number, batch) if one.seat.state == SeatState.REVEALED]
    read = [_heard(decode_report(one.seat.report, len(batch.items)), one.seat.duplicates) for one in sitting]
    unread = privacy.unread(view, number, batch, [one.validator for one in sitting])
    if unread:
        read = [
            tuple(UNREAD if place in unread else score for place, score in enumerate(report))
            for report in read
        ]
    return Committee(sitting, read, [one.seat.vote for one in sitting], unread)


def _heard(report: tuple[ItemScore, ...], duplicates: tuple[DuplicateOf, ...]) -> tuple[ItemScore, ...]:
    """A report without the flags of duplicates that name nothing they repeat."""
    named = {duplicate.place for duplicate in duplicates}
    return tuple(
        score if place in named else replace(score, flags=score.flags & ~Flag.DUPLICATE)
        for place, score in enumerate(report)
    )
