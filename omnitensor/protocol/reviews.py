"""Commitments and reports as contributors and reviewers make them: what is hashed, and four bytes an item. Data only."""

from enum import IntFlag
from typing import Final

from omnitensor.protocol import hashing, merkle
from omnitensor.protocol.bodies import ItemDeclaration
from omnitensor.protocol.codec import Record, encode
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.types import U16, Address, BatchId, Hash

SCORE_MAX: Final = 100
REPORT_ITEM_BYTES: Final = 4


class Flag(IntFlag):
    """What a reviewer can say of an item besides its scores; any of the reasons for a rejection."""

    DUPLICATE = 1
    PERSONAL_DATA = 2
    ILLEGAL = 4
    POISONED = 8
    UNAVAILABLE = 16
    WRONG_TIER = 32
    LICENCE = 64


FLAGS_ALL: Final = 127


class ReportError(ProtocolError):
    """Bytes or scores that are no report."""

    code = "report"


class ItemScore(Record, frozen=True):
    """A reviewer's view of one item: three scores 0..100 and flags."""

    completeness: U16
    accuracy: U16
    relevance: U16
    flags: U16 = 0

    @property
    def criteria(self) -> tuple[int, int, int]:
        return (self.completeness, self.accuracy, self.relevance)


def encode_report(scores: tuple[ItemScore, ...]) -> bytes:
    """Four bytes an item in the batch's order. Raises ReportError naming the score that is out of range."""
    out = bytearray()
    for position, score in enumerate(scores):
        values = (*score.criteria, score.flags)
        if any(not 0 <= value <= SCORE_MAX for value in score.criteria) or not 0 <= score.flags <= FLAGS_ALL:
            raise ReportError(
                f"item {position} of a report is out of range", value=values, remedy="scores are 0 to 100"
            )
        out += bytes(values)
    return bytes(out)


def decode_report(report: bytes, count: int) -> tuple[ItemScore, ...]:
    """Scores of ``count`` items. Raises ReportError when the length or a value is wrong."""
    if len(report) != REPORT_ITEM_BYTES * count:
        raise ReportError("a report has four bytes an item", value=f"{len(report)} bytes for {count} items")
    scores = tuple(ItemScore(*report[i : i + 4]) for i in range(0, len(report), 4))
    encode_report(scores)
    return scores


def items_root(items: tuple[ItemDeclaration, ...]) -> Hash:
    return Hash(merkle.root_of([encode(item) for item in items]))


def submission_commitment(chain_id: str, campaign: int, root: Hash, sender: Address, salt: Hash) -> Hash:
    """What a contributor commits to before showing the items: nobody can front-run a content hash."""
    return hashing.SUBMISSION(encode((chain_id, int(campaign), bytes(root), bytes(sender), bytes(salt))))


def report_commitment(
    chain_id: str, batch: BatchId, round_: int, validator: Address, salt: Hash, report: bytes
) -> Hash:
    """What a reviewer commits to before any report is seen; bound to chain, batch, round and reviewer, so it can't be copied."""
    return hashing.REPORT(encode((chain_id, int(batch), int(round_), bytes(validator), bytes(salt), report)))


def gold_leaf(chain_id: str, campaign: int, chunk_root: Hash, bits: int, salt: Hash) -> bytes:
    """A leaf of a campaign's gold tree: a content, and which criteria it passes (1, 2 and 4), hidden by the salt."""
    return hashing.GOLD(encode((chain_id, int(campaign), bytes(chunk_root), int(bits), bytes(salt))))
