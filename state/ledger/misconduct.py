"""What reviewers may not do with a report before its time, and whoever shows it: leaking it, or signing two of them."""

from omnitensor.protocol import keys
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import ReportCommit, ReportContradiction, ReportLeak, Scope
from omnitensor.protocol.codec import decode
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.reviews import report_commitment
from omnitensor.protocol.transactions import Transaction
from omnitensor.protocol.types import BPS, Address
from state.ledger import agenda, escrow, jail
from state.ledger.accounts import Pot, burn, move
from state.ledger.campaigns import campaign_of
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.seats import Seated, batch_and_seat, slash, take
from state.ledger.sessions import could_sign
from state.ledger.view import ReadView, View
from state.records_review import BatchPhase, Seat, SeatState
from state.schema import OPEN_SEATS


def leak(view: View, ctx: BlockContext, sender: Address, body: ReportLeak) -> tuple[Event, ...]:
    """Opens another's commitment while reports are still committed: the seat's whole bond goes, a part of it to the finder."""
    if sender == body.validator:
        raise Rejected(
            "leak_own", "the report is the sender's own", value=sender, remedy="reveal it when the time comes"
        )
    batch, seat = batch_and_seat(view, body.validator, body.batch, body.round)
    if batch.phase != BatchPhase.COMMIT or seat.state != SeatState.COMMITTED:
        raise Rejected(
            "leak_late",
            f"the seat is {SeatState(seat.state).label}, and reports leak only while others are still committed",
            value=f"{body.batch}/{body.round}",
            remedy="show a leak before the reveal opens",
        )
    commitment = report_commitment(
        ctx.chain_id, body.batch, body.round, body.validator, body.salt, body.report
    )
    if commitment != seat.commitment:
        raise Rejected(
            "commitment",
            "this report and this salt do not open the seat's commitment",
            value=seat.commitment,
            remedy="give exactly what that validator committed",
        )
    seated = Seated(body.validator, seat)
    amount = take(view, ctx, body.batch, batch, seated, seat.bond, SeatState.LEAKED)
    reward = amount * ctx.params.leak_finder_bps // BPS
    move(view, Pot.STAKE, sender, reward)
    burn(view, Pot.STAKE, amount - reward)
    agenda.look_at_batch_now(view, ctx, body.batch)
    return (
        event(
            "report.leaked",
            batch=body.batch,
            round=body.round,
            campaign=batch.campaign,
            validator=body.validator,
            amount=amount,
            burned=amount - reward,
            reward=reward,
            finder=sender,
        ),
    )


def contradiction(
    view: View, ctx: BlockContext, sender: Address, body: ReportContradiction
) -> tuple[Event, ...]:
    """Two reports signed for one seat: its whole bond goes, and its validator is jailed."""
    first, second = _signed_commit(view, ctx, body.first), _signed_commit(view, ctx, body.second)
    one, other = first.body, second.body
    assert isinstance(one, ReportCommit) and isinstance(other, ReportCommit), "both were looked at"
    same_seat = (first.sender, one.batch, one.round) == (second.sender, other.batch, other.round)
    if not same_seat or one.commitment == other.commitment:
        raise _no_contradiction("the two do not commit one seat to different reports", one.batch)
    batch, seat = batch_and_seat(view, first.sender, one.batch, one.round)
    if view.get(OPEN_SEATS, first.sender, one.batch, one.round) is None:
        raise _no_contradiction(f"the seat is {SeatState(seat.state).label}, and holds nothing", one.batch)
    for transaction in (first, second):
        _check_signer(view, seat, transaction)
    campaign = campaign_of(view, batch.campaign)
    campaign, charged = slash(
        view,
        ctx,
        one.batch,
        batch,
        campaign,
        Seated(first.sender, seat),
        seat.bond,
        SeatState.CONTRADICTED,
        SeatState.CONTRADICTED.label,
    )
    escrow.put(view, batch.campaign, campaign)
    jail.begin(view, ctx, first.sender)
    agenda.look_at_batch_now(view, ctx, one.batch)
    said = event(
        "report.contradicted",
        batch=one.batch,
        round=one.round,
        campaign=batch.campaign,
        validator=first.sender,
        finder=sender,
    )
    return (said, *charged)


def _signed_commit(view: ReadView, ctx: BlockContext, encoded: bytes) -> Transaction:
    """A transaction of this chain that commits a report, with a signature of its signer's. Raises Rejected."""
    try:
        transaction = decode(Transaction, encoded)
    except ProtocolError as error:
        raise _no_contradiction("one is no transaction", encoded[:16]) from error
    if not isinstance(transaction.body, ReportCommit) or transaction.chain_id != ctx.chain_id:
        raise _no_contradiction("one is no commitment to a report on this chain", transaction.chain_id)
    if not ctx.verify_key(transaction.signer, transaction.id, transaction.signature):
        raise _no_contradiction("one has a signature that does not verify", transaction.id)
    return transaction


def _check_signer(view: ReadView, seat: Seat, transaction: Transaction) -> None:
    """Raises Rejected where a key signed that could not have committed the seat's report.

    Whoever stole a key that only uploads, or one that was taken back before, must not reach the validator's stake with it.
    """
    sender, signer = transaction.sender, transaction.signer
    if not keys.is_own_key(sender, signer) and not could_sign(
        view, seat.drawn_at, sender, signer, Scope.REVIEW
    ):
        raise _no_contradiction("one is signed by a key that could not have committed the report", signer)


def _no_contradiction(reason: str, value: object) -> Rejected:
    return Rejected(
        "contradiction", reason, value=value, remedy="give two signed commitments of one seat, whole"
    )
