"""Orders of multisignature accounts: whether enough members signed this one, once, and what becomes of it.

Knows no kind of order: ``registry`` says who carries it out. Any account may send one and pays the fee.
"""

from collections.abc import Callable

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import BodyBase, MultisigExecute
from omnitensor.protocol.codec import encode
from omnitensor.protocol.multisig import MultisigError, check_policy, check_signers, order_message
from omnitensor.protocol.types import Address
from state.ledger.context import BlockContext
from state.ledger.errors import OrderRefused, Rejected
from state.ledger.events import event
from state.ledger.view import ReadView, View
from state.records import Multisig
from state.schema import MULTISIGS

CarryOut = Callable[[View, BlockContext, Address, BodyBase], tuple[Event, ...]]


def sequence_of(view: ReadView, account: Address) -> int:
    """The sequence number that a multisignature account's next order must have."""
    row = view.get(MULTISIGS, account)
    return row.sequence if row else 0


def execute(
    carry_out: CarryOut, view: View, ctx: BlockContext, sender: Address, body: MultisigExecute
) -> tuple[Event, ...]:
    """Carries out the order as the multisignature account's own, all of it or nothing.

    Raises Rejected where it is not what enough members signed for now: then nothing has changed. Raises OrderRefused where the
    order itself is refused: the sequence number is used up all the same, as a nonce is, so that nobody can repeat an order
    that its members have seen fail.
    """
    _check(view, ctx, body)
    view.put(MULTISIGS, Multisig(body.policy, body.sequence + 1), body.account)
    said: dict[str, int | str | bytes] = {
        "account": body.account,
        "sequence": body.sequence,
        "order": body.order.KIND,
    }
    mark = view.mark()
    try:
        events = carry_out(view, ctx, body.account, body.order)
    except Rejected as refusal:
        view.rollback(mark)
        raise OrderRefused(refusal, (event("multisig.refused", **said),)) from refusal
    return (event("multisig.executed", **said), *events)


def _check(view: ReadView, ctx: BlockContext, body: MultisigExecute) -> None:
    """Raises Rejected, the cheapest reasons first."""
    try:
        check_policy(body.policy)
        check_signers(body.policy, body.signatures)
    except MultisigError as error:
        raise Rejected(error.code, error.reason, error.value or None, error.remedy) from error
    if body.policy.address != body.account:
        raise Rejected(
            "multisig_account",
            "the members and their number are not those of the account",
            value=body.account,
            remedy="take the order and the account from files of the same account",
        )
    if (expected := sequence_of(view, body.account)) != body.sequence:
        raise Rejected(
            "multisig_sequence",
            f"the account's next sequence number is {expected}",
            value=body.sequence,
            remedy="another order of the account came first: have the members sign a new one",
        )
    if body.valid_until < ctx.height:
        raise Rejected(
            "multisig_expired",
            f"the members signed for heights up to {body.valid_until}",
            value=ctx.height,
            remedy="have the members sign a new one",
        )
    message = order_message(ctx.chain_id, body.account, body.sequence, body.valid_until, encode(body.order))
    for one in body.signatures:
        member = body.policy.members[one.member]
        if not ctx.verify_key(member, message, one.signature):
            raise Rejected(
                "multisig_signature",
                "a member's signature is not over this order",
                value=member,
                remedy="have the member sign this order, for this chain and this sequence number",
            )
