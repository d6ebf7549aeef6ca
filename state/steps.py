"""The steps of light clients: one an epoch that is over, kept for ever, so that a node whose old blocks are gone still leads
others from genesis to now. Makes and reads the rows; whether a step shows anything is for whoever follows it to check.
"""

from collections.abc import Iterator

from omnitensor.protocol.blocks import Header
from omnitensor.protocol.codec import encode
from omnitensor.protocol.epochs import is_boundary
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Epoch
from omnitensor.protocol.votes import FinalityProof
from state.ledger import epochs
from state.ledger.view import ReadView
from state.records import StepRow
from state.rows import decode_row
from state.schema import STEPS, number
from state.store import Batch, Snapshot


def rows_at(header: Header, proof: FinalityProof | None, after: ReadView, params: Params) -> Batch:
    """What a boundary block with a proof adds, ``after`` being the state after it; nothing for any other block."""
    if proof is None or not is_boundary(header.height, params):
        return []
    row = step_of(header, proof, after, first=False)
    return [] if row is None else [row_of(row)]


def step_of(header: Header, proof: FinalityProof, after: ReadView, *, first: bool) -> StepRow | None:
    """The step over a boundary; None where the state has forgotten who voted next. The ``first`` one kept spells voters out."""
    before = epochs.validator_set(after, header.epoch)
    following = epochs.validator_set(after, Epoch(header.epoch + 1))
    if following is None:
        return None
    same = not first and before is not None and before.entries == following.entries
    return StepRow(header, proof, None if same else following.entries)


def row_of(step: StepRow) -> tuple[bytes, bytes]:
    return STEPS.full_key(step.header.epoch), encode(step)


def kept(store: Snapshot, start: int = 0) -> Iterator[tuple[Epoch, StepRow]]:
    """Steps from an epoch on, in order."""
    for key, data in store.scan(STEPS.full_key(start), bytes([STEPS.prefix + 1])):
        yield Epoch(number(key[1:])), decode_row(STEPS, data)
