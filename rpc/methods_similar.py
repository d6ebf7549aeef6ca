"""Method review.similar: which items of a batch nearly repeat an earlier one of their campaign. Reads state and stored content.

Proven fingerprints, which stand in the state, come first. What is not proven is the node's own word: fingerprints that it has not
computed yet are computed here, in a thread of the server, up to a number of bytes an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.types import CampaignId, ItemId
from rpc.backend import ContentFingerprints
from rpc.fields import Count
from rpc.methods_campaign import campaign_row, item_row
from rpc.methods_review import BatchParams, batch_row
from rpc.table import TABLE, Context, Result
from state.reader import Reader
from state.records_review import Item, ItemStatus
from state.schema import FINGERPRINTS, ITEM_SCORES, ITEMS, ITEMS_BY_CAMPAIGN, number

_COMPARED: Final = (
    ItemStatus.REVEALED,
    ItemStatus.QUEUED,
    ItemStatus.IN_REVIEW,
    ItemStatus.ESCALATED,
    ItemStatus.ACCEPTED,
    ItemStatus.PAID,
)
"""Accepted, or under way to a verdict: what was rejected or left undecided does not stand against anybody."""


class Nearest(Result, frozen=True):
    item: Count
    distance: Annotated[Count, Meta(description="Bits of 256 in which the fingerprints differ")]
    proven: Annotated[bool, Meta(description="Whether both fingerprints are proven by work")]


class SimilarItem(Result, frozen=True):
    place: Count
    item: Count
    known: Annotated[bool, Meta(description="Whether this node has its bytes, and has their fingerprint")]
    proven: Annotated[
        bool, Meta(description="Whether its fingerprint is proven by work, and not this node's word")
    ]
    scores: Annotated[
        list[int] | None,
        Meta(
            description="What the campaign's model says of it, proven by work: advice, in [-63, 63]; null where nothing does"
        ),
    ]
    nearest: Annotated[Nearest | None, Meta(description="The nearest earlier item, where it is near enough")]


class SimilarShown(Result, frozen=True):
    batch: Count
    round: Count
    campaign: Count
    bits_max: Annotated[Count, Meta(description="The parameter near_duplicate_bits")]
    candidates: Annotated[Count, Meta(description="Items that the batch was compared with")]
    candidates_unknown: Annotated[Count, Meta(description="Such as it could not be compared with")]
    unfinished: Annotated[bool, Meta(description="More fingerprints are computed when it is called again")]
    items: list[SimilarItem]


@dataclass(frozen=True, slots=True)
class _Compared:
    """An item by its place in time, and its fingerprint as a number."""

    order: tuple[int, int]
    fingerprint: int
    proven: bool


class _Taker:
    """Looks fingerprints up, and computes as many as one answer may."""

    def __init__(self, reader: Reader, fingerprints: ContentFingerprints) -> None:
        self._reader: Final = reader
        self._fingerprints: Final = fingerprints
        self._left = limits.fingerprinted_bytes_per_call_max
        self.unfinished = False
        self.blind = False
        """What is encrypted looks like nothing, and says nothing of what it is."""

    def of(self, key: int, item: Item) -> _Compared | None:
        """None where the bytes are encrypted, not here, too few, or are to be computed by the next call."""
        root, size = item.content.chunk_root, min(item.content.size, limits.fingerprint_bytes_max)
        if self.blind or size < limits.near_duplicate_bytes_min:
            return None
        proven = self._reader.get(FINGERPRINTS, item.campaign, key)
        if proven is not None:
            return _Compared((item.sequence, key), int.from_bytes(proven.bits, "big"), True)
        found = self._fingerprints.known(root)
        if found is None and self._left < size:
            self.unfinished = True
            return None
        if found is None:
            found = self._fingerprints.compute(root)
            self._left -= size if found is not None else 0
        return None if found is None else _Compared((item.sequence, key), int.from_bytes(found, "big"), False)


@TABLE.method("review.similar", heavy=True)
def similar(context: Context, params: BatchParams) -> SimilarShown:
    """For each item of a batch the nearest earlier item of the campaign that is accepted or under review, by fingerprint."""
    reader = context.reader
    row = batch_row(reader, params.batch, params.round)
    taker, bits_max = _Taker(reader, context.backend.fingerprints), reader.params().near_duplicate_bits
    if campaign_row(reader, row.campaign).spec.reading_key:
        taker.blind = True
    own = {key: taker.of(key, item_row(reader, key)) for key in row.items}
    others: list[_Compared] = []
    unknown = 0
    for key, item in _candidates(reader, row.campaign, max(row.items)):
        found = own[key] if key in own else taker.of(key, item)
        if found is None:
            unknown += 1
        else:
            others.append(found)
    return SimilarShown(
        batch=params.batch,
        round=row.round,
        campaign=row.campaign,
        bits_max=bits_max,
        candidates=len(others),
        candidates_unknown=unknown,
        unfinished=taker.unfinished,
        items=[
            SimilarItem(
                place=place,
                item=key,
                known=one is not None,
                proven=one is not None and one.proven,
                scores=_scores(reader, key),
                nearest=_nearest(one, others, bits_max),
            )
            for place, (key, one) in enumerate(own.items())
        ],
    )


def _scores(reader: Reader, item: ItemId) -> list[int] | None:
    """What the campaign's model says of an item."""
    row = reader.get(ITEM_SCORES, item)
    return None if row is None else [each - 256 if each > 127 else each for each in row.scores]


def _candidates(reader: Reader, campaign: CampaignId, newest: ItemId) -> list[tuple[ItemId, Item]]:
    """Items of a campaign that others may repeat, the newest first, up to the limit; none after the batch's own."""
    found: list[tuple[ItemId, Item]] = []
    keys = reader.scan(ITEMS_BY_CAMPAIGN, campaign, start=int(newest).to_bytes(8, "big"), reverse=True)
    for seen, (key, _) in enumerate(keys):
        if len(found) == limits.near_duplicate_candidates_max or seen == limits.rpc_scan_rows_max:
            break
        row = reader.get(ITEMS, number(key))
        assert row is not None, "an index names what is there"
        if row.status in _COMPARED:
            found.append((ItemId(number(key)), row))
    return found


def _nearest(one: _Compared | None, others: list[_Compared], bits_max: int) -> Nearest | None:
    """The nearest of those that came earlier, of several equally near the earliest; None beyond ``bits_max``."""
    if one is None:
        return None
    found = min(
        (
            ((one.fingerprint ^ other.fingerprint).bit_count(), other.order, other.proven)
            for other in others
            if other.order < one.order
        ),
        default=None,
    )
    if found is None or found[0] > bits_max:
        return None
    return Nearest(item=found[1][1], distance=found[0], proven=one.proven and found[2])
