"""What a block does to the state, read from top to bottom: each transaction's fee and order, tips, and the steps at the end.

Pure: it is given everything. Signatures were checked by the caller; that the signer may sign for the sender is checked here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.blocks import BlockResult, Event, Receipt
from omnitensor.protocol.bodies import WorkCommit
from omnitensor.protocol.errors import BlockError, shorten
from omnitensor.protocol.keys import has_known_version, is_own_key
from omnitensor.protocol.limits import reason_chars_max
from omnitensor.protocol.transactions import TRANSACTION_VERSION, Transaction
from omnitensor.protocol.types import Amount, PublicKey, Weight
from state.ledger import parameters
from state.ledger.accounts import NO_ACCOUNT, Pot, pot
from state.ledger.context import BlockContext
from state.ledger.errors import OrderRefused, Rejected, Unpayable
from state.ledger.fees import fee_of, next_base_fee
from state.ledger.prepared import Prepared
from state.ledger.registry import END_OF_BLOCK, HANDLERS
from state.ledger.sessions import check_allowance, check_session, check_session_tip, spend
from state.ledger.view import ReadView
from state.overlay import Overlay
from state.records import Account, PotTotal
from state.schema import ACCOUNTS, POTS

OK: Final = "ok"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What executing a block says besides the state."""

    result: BlockResult
    weight_used: Weight
    next_base_fee: int


class Execution:
    """A block being executed on an overlay: transactions one by one, then ``finish``. The overlay's one owner meanwhile.

    Fees and tips are taken from their senders at once and kept in ``burning`` and ``tips`` until ``finish``; the supply is
    conserved with them counted in.
    """

    def __init__(self, view: Overlay, ctx: BlockContext) -> None:
        self.view: Final = view
        self.ctx: Final = ctx
        self.burning = 0
        self.tips = 0
        self.weight_used = 0
        self._receipts: list[Receipt] = []

    def apply(self, prepared: Prepared) -> Receipt:
        """Executes the next transaction.

        Raises Unpayable, with nothing changed, where it can't stand in this block. A refusal by a rule is a receipt: then
        only the sender's fee and nonce have changed, and of a multisignature account's order its sequence number.
        """
        view, ctx, transaction = self.view, self.ctx, prepared.transaction
        fee, account = _payable(view, ctx, prepared)
        if self.weight_used + prepared.weight > ctx.params.block_weight_max:
            raise Unpayable(
                "block_full", "the transaction does not fit into the block", value=prepared.weight
            )
        sender = transaction.sender
        rest = Amount(account.balance - fee - transaction.tip)
        view.put(ACCOUNTS, Account(rest, account.nonce + 1), sender)
        session = None if is_own_key(sender, transaction.signer) else transaction.signer
        if session is not None:
            spend(view, session, fee + transaction.tip)
        self.burning += fee
        self.tips += transaction.tip
        self.weight_used += prepared.weight
        code, reason = OK, ""
        events: tuple[Event, ...] = ()
        mark = view.mark()
        try:
            events = self._carry_out(transaction, session, rest)
        except OrderRefused as refusal:
            code, reason, events = refusal.code, shorten_reason(refusal), refusal.events
        except Rejected as refusal:
            view.rollback(mark)
            code, reason = refusal.code, shorten_reason(refusal)
        receipt = Receipt(prepared.id, code, reason, Amount(fee), transaction.tip, prepared.weight, events)
        self._receipts.append(receipt)
        return receipt

    def _carry_out(
        self, transaction: Transaction, session: PublicKey | None, balance: int
    ) -> tuple[Event, ...]:
        """The order's events. What it takes from the sender's balance comes off the session key's allowance, whatever it is."""
        sender, view, ctx = transaction.sender, self.view, self.ctx
        if type(transaction.body) is WorkCommit:
            ctx = replace(ctx, signer=transaction.signer)
        events = HANDLERS[type(transaction.body)](view, ctx, sender, transaction.body)
        if session is not None:
            taken = balance - (view.get(ACCOUNTS, sender) or NO_ACCOUNT).balance
            if taken > 0:
                spend(view, session, taken)
        return events

    def finish(self) -> Outcome:
        """Burns the fees, pays the tips to the proposer, and runs the steps at the end of a block."""
        view, ctx = self.view, self.ctx
        if self.burning:
            _add_to_pot(view, Pot.ACCOUNTS, -self.burning)
            _add_to_pot(view, Pot.BURNED, self.burning)
        if self.tips:
            account = view.get(ACCOUNTS, ctx.proposer) or NO_ACCOUNT
            view.put(ACCOUNTS, Account(Amount(account.balance + self.tips), account.nonce), ctx.proposer)
        events: list[Event] = []
        for step in END_OF_BLOCK:
            try:
                events += step(view, ctx)
            except Rejected as refusal:
                raise AssertionError(f"a step at the end of a block refused: {refusal}") from refusal
        view.forget_marks()
        return Outcome(
            BlockResult(tuple(self._receipts), tuple(events)),
            Weight(self.weight_used),
            next_base_fee(ctx.base_fee, self.weight_used, parameters.above(view, ctx)),
        )


def apply_block(view: Overlay, ctx: BlockContext, transactions: Iterable[Prepared]) -> Outcome:
    """Executes a whole block on an overlay of its parent's state.

    Raises BlockError naming a transaction that can't stand in it.
    """
    execution = Execution(view, ctx)
    for index, prepared in enumerate(transactions):
        try:
            execution.apply(prepared)
        except Unpayable as refusal:
            raise BlockError(
                f"transaction {index} can't stand in this block: {refusal}", value=prepared.id
            ) from refusal
    return execution.finish()


def check_payable(view: ReadView, ctx: BlockContext, prepared: Prepared) -> int:
    """The fee that the transaction burns in this block, nanoOMNIT. Raises Unpayable where it can't stand in it."""
    return _payable(view, ctx, prepared)[0]


def _payable(view: ReadView, ctx: BlockContext, prepared: Prepared) -> tuple[int, Account]:
    """The fee, and the sender's account before it is taken."""
    transaction = prepared.transaction
    check_envelope(ctx, transaction)
    account = view.get(ACCOUNTS, transaction.sender) or NO_ACCOUNT
    if transaction.nonce != account.nonce:
        raise Unpayable(
            "nonce",
            f"the account's next nonce is {account.nonce}",
            value=transaction.nonce,
            remedy="sign the transaction again with that nonce",
        )
    own = is_own_key(transaction.sender, transaction.signer)
    if not own:
        check_session(view, ctx.height, transaction.sender, transaction.signer, transaction.body)
    fee = fee_of(prepared.weight, ctx.base_fee)
    if fee > transaction.max_fee:
        raise Unpayable(
            "max_fee",
            f"the fee is {format_omnit(fee)}",
            value=format_omnit(transaction.max_fee),
            remedy="sign it again with a higher max_fee",
        )
    if not own:
        check_session_tip(transaction.tip, fee)
        check_allowance(view, transaction.signer, transaction.max_fee + transaction.tip)
    if account.balance < transaction.max_fee + transaction.tip:
        raise Unpayable(
            "balance",
            f"the account has {format_omnit(account.balance)}, less than max_fee and tip",
            value=format_omnit(transaction.max_fee + transaction.tip),
            remedy="add money to the account, or lower max_fee or tip",
        )
    return fee, account


def check_envelope(ctx: BlockContext, transaction: Transaction) -> None:
    """Version, chain, sender's address and expiry. Raises Unpayable."""
    if transaction.version != TRANSACTION_VERSION:
        raise Unpayable(
            "version",
            "the transaction is of an unknown version",
            value=transaction.version,
            remedy=f"this chain takes version {TRANSACTION_VERSION}",
        )
    if transaction.chain_id != ctx.chain_id:
        raise Unpayable(
            "chain_id",
            "the transaction is for another chain",
            value=transaction.chain_id,
            remedy=f"this chain is {ctx.chain_id}",
        )
    if not has_known_version(transaction.sender):
        raise Unpayable("address", "the sender's address is of an unknown version", value=transaction.sender)
    if not ctx.height <= transaction.valid_until <= ctx.height + ctx.params.valid_until_blocks_max:
        late = transaction.valid_until < ctx.height
        raise Unpayable(
            "expired" if late else "valid_until",
            f"the transaction {'expired' if late else 'is valid for too long'}; the chain is at height {ctx.height}",
            value=transaction.valid_until,
            remedy=f"sign it again, valid for at most {ctx.params.valid_until_blocks_max} blocks",
        )


def shorten_reason(refusal: Rejected) -> str:
    """A refusal's text for a receipt: reason, value and remedy, within the limit."""
    text = str(refusal)
    return text if len(text) <= reason_chars_max else text[: reason_chars_max - 1] + "…"


def _add_to_pot(view: Overlay, which: Pot, amount: int) -> None:
    held = pot(view, which) + amount
    assert held >= 0, f"the pot {which.name} would hold {shorten(held)}"
    view.put(POTS, PotTotal(Amount(held)), which.value)
