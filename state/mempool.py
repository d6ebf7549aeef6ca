"""Transactions that wait for a block. Bounded in number, bytes and by sender; one thread has it. Writes nothing.

What is refused here could not stand in the next block, or pays no more than what it would push out. Accounts, session keys and
the base fee are those of the last committed block; after each one only the senders in it are looked at again.
"""

from collections.abc import Container, Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Final

from omnitensor.protocol import limits
from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.errors import TransactionError
from omnitensor.protocol.transactions import Transaction
from omnitensor.protocol.types import BPS, ZERO_HASH, Address, Hash, Height
from state.genesis import NO_PROPOSER
from state.ledger.context import BlockContext
from state.ledger.errors import Unpayable
from state.ledger.fees import fee_of
from state.ledger.prepared import Prepared, prepare_encoded
from state.ledger.sessions import check_session
from state.ledger.transition import check_envelope
from state.reader import Reader
from state.signatures import SignatureChecker

_PRICE_SCALE_BITS: Final = 32


class _Queue:
    """The waiting transactions of one sender by nonce, and its account's nonce and balance at the last committed block."""

    __slots__ = ("balance", "by_nonce", "nonce", "offered")

    def __init__(self, nonce: int, balance: int) -> None:
        self.nonce = nonce
        self.balance = balance
        self.by_nonce: dict[int, Prepared] = {}
        self.offered = 0
        """nanoOMNIT that all of them together may take from the account as fees and tips."""

    def next_nonce(self) -> int:
        nonce = self.nonce
        while nonce in self.by_nonce:
            nonce += 1
        return nonce


class Mempool:
    """Waiting transactions, by id and by sender."""

    def __init__(self, reader: Reader, chain_id: str, signatures: SignatureChecker) -> None:
        self._chain_id: Final = chain_id
        self._signatures: Final = signatures
        self._params: Final = reader.params()
        self._reader = reader
        self._by_id: dict[Hash, Prepared] = {}
        self._queues: dict[Address, _Queue] = {}
        self._expiring: list[tuple[int, Hash]] = []
        self._bytes = 0
        self._least: int | None = None
        """The least that any of them pays; None where it was not looked for since they changed."""

    # -- looking

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def size_bytes(self) -> int:
        """Bytes of all waiting transactions as encoded."""
        return self._bytes

    def get(self, transaction_id: Hash) -> Prepared | None:
        """A waiting transaction, or None."""
        return self._by_id.get(transaction_id)

    def ids(self) -> tuple[Hash, ...]:
        """Ids of all that wait, the longest waiting first."""
        return tuple(self._by_id)

    def by_sender(self, sender: Address) -> tuple[Prepared, ...]:
        """What waits of one sender, by nonce."""
        queue = self._queues.get(sender)
        return tuple(queue.by_nonce[nonce] for nonce in sorted(queue.by_nonce)) if queue else ()

    def next_nonce(self, sender: Address) -> int:
        """The nonce for the sender's next transaction, counting those that wait without a gap."""
        queue = self._queues.get(sender)
        return queue.next_nonce() if queue else self._reader.account(sender).nonce

    # -- taking in

    def add(self, encoded: bytes) -> Transaction:
        """Takes a transaction in. Raises TransactionError, CodecError, LimitError or SignatureError; then nothing has changed."""
        prepared = prepare_encoded(encoded)
        if prepared.id in self._by_id:
            raise _refused("duplicate", "the transaction waits here already", prepared.id)
        self._check_next_block(prepared)
        queue = self._fresh_queue(prepared.transaction.sender)
        replaced = self._check_queue(queue, prepared)
        self._signatures.check(prepared)
        if replaced is not None:
            self._remove(replaced)
        try:
            self._make_room(prepared)
        except TransactionError:
            if replaced is not None:
                self._insert(queue, replaced)
            raise
        self._insert(queue, prepared)
        return prepared.transaction

    def _check_next_block(self, prepared: Prepared) -> None:
        """Whether it could stand in the next block but for nonce and balance. Raises Unpayable."""
        transaction, reader = prepared.transaction, self._reader
        check_envelope(self._context(), transaction)
        if transaction.sender[1:] != transaction.signer:
            check_session(
                reader,
                Height(reader.head.height + 1),
                transaction.sender,
                transaction.signer,
                transaction.body,
            )
        fee = fee_of(prepared.weight, reader.next_base_fee)
        if prepared.weight > self._params.block_weight_max:
            raise _refused("block_full", "the transaction fits into no block", prepared.weight)
        if transaction.max_fee < fee:
            raise _refused(
                "max_fee",
                f"the fee is {format_omnit(fee)} now",
                format_omnit(transaction.max_fee),
                "sign it again with a higher max_fee",
            )

    def _check_queue(self, queue: _Queue, prepared: Prepared) -> Prepared | None:
        """Nonce, balance and what it would replace, among the sender's others. Raises TransactionError."""
        transaction = prepared.transaction
        if transaction.nonce < queue.nonce:
            placed = self._reader.receipt(prepared.id)
            if placed is not None:
                raise _refused(
                    "duplicate", f"the transaction is in block {placed.height} already", prepared.id
                )
            raise _refused(
                "nonce",
                f"the account's next nonce is {queue.nonce}",
                transaction.nonce,
                "sign the transaction again with that nonce",
            )
        if transaction.nonce >= queue.nonce + limits.mempool_per_sender_max:
            raise _refused(
                "nonce_gap",
                f"the account's next nonce is {queue.nonce}, and {limits.mempool_per_sender_max} ahead may wait",
                transaction.nonce,
                "send the earlier ones first",
            )
        replaced = queue.by_nonce.get(transaction.nonce)
        offered = _offer(prepared)
        if replaced is not None:
            _check_replacement(replaced, prepared)
        total = queue.offered + offered - (_offer(replaced) if replaced else 0)
        if total > queue.balance:
            raise _refused(
                "balance",
                f"the account has {format_omnit(queue.balance)}, and what waits of it may take {format_omnit(total)}",
                format_omnit(offered),
                "add money to the account, or lower max_fee or tip",
            )
        return replaced

    def _make_room(self, prepared: Prepared) -> None:
        """When the pool is full, pushes out what pays less, as much as a tenth of the pool. Raises TransactionError."""
        size = len(prepared.encoded)
        count, in_all = len(self._by_id), self._bytes + size
        if count < limits.mempool_transactions_max and in_all <= limits.mempool_bytes_max:
            return
        price = _price(prepared)
        pushed_out: dict[Hash, Prepared] = {}
        free_from = (limits.mempool_transactions_max * 9 // 10, limits.mempool_bytes_max * 9 // 10)
        for other in self._below(price, prepared.transaction.sender):
            if count <= free_from[0] and in_all <= free_from[1]:
                break
            # Whoever goes takes its sender's later ones along: they can't stand in a block without it.
            for later in self.by_sender(other.transaction.sender):
                if later.transaction.nonce >= other.transaction.nonce and later.id not in pushed_out:
                    pushed_out[later.id] = later
                    count -= 1
                    in_all -= len(later.encoded)
        if count >= limits.mempool_transactions_max or in_all > limits.mempool_bytes_max:
            raise _refused(
                "mempool_full",
                "the node has as many waiting transactions as it takes, and all pay as much",
                format_omnit(prepared.transaction.tip),
                "try again later, or give a higher tip",
            )
        for other in pushed_out.values():
            self._remove(other)

    def _below(self, price: int, sender: Address) -> list[Prepared]:
        """What pays less than a price, the least first, but for one sender's. Whoever pays no more than all is told at once."""
        if self._least is None:
            self._least = min(map(_price, self._by_id.values()), default=0)
        if price <= self._least:
            return []
        cheaper = [
            other
            for other in self._by_id.values()
            if other.transaction.sender != sender and _price(other) < price
        ]
        return sorted(cheaper, key=_price)

    def _insert(self, queue: _Queue, prepared: Prepared) -> None:
        transaction = prepared.transaction
        self._queues[transaction.sender] = queue
        queue.by_nonce[transaction.nonce] = prepared
        queue.offered += _offer(prepared)
        self._by_id[prepared.id] = prepared
        self._bytes += len(prepared.encoded)
        self._least = None
        heappush(self._expiring, (transaction.valid_until, prepared.id))
        if len(self._expiring) > 2 * len(self._by_id) + 1_000:
            self._expiring = [(p.transaction.valid_until, p.id) for p in self._by_id.values()]
            heapify(self._expiring)

    def _remove(self, prepared: Prepared) -> None:
        """Removes a waiting one; removing what is gone changes nothing."""
        if self._by_id.pop(prepared.id, None) is None:
            return
        self._least = None
        sender = prepared.transaction.sender
        queue = self._queues[sender]
        del queue.by_nonce[prepared.transaction.nonce]
        queue.offered -= _offer(prepared)
        self._bytes -= len(prepared.encoded)
        if not queue.by_nonce:
            del self._queues[sender]

    def _fresh_queue(self, sender: Address) -> _Queue:
        """The sender's queue with its account as it is now: others may have paid it. ``_insert`` keeps a new one."""
        account = self._reader.account(sender)
        queue = self._queues.get(sender)
        if queue is None:
            return _Queue(account.nonce, account.balance)
        queue.balance = account.balance
        return queue

    def _context(self) -> BlockContext:
        """The next block as far as a transaction's envelope is concerned."""
        head = self._reader.head
        return BlockContext(
            chain_id=self._chain_id,
            height=Height(head.height + 1),
            epoch=head.header.epoch,
            timestamp_ms=head.header.timestamp_ms,
            proposer=NO_PROPOSER,
            beacon=ZERO_HASH,
            params=self._params,
            base_fee=self._reader.next_base_fee,
        )

    # -- giving out

    def select(
        self,
        base_fee: int,
        weight_max: int,
        bytes_max: int,
        exclude: Container[Hash] = frozenset(),
    ) -> list[Prepared]:
        """Transactions for a block: the highest tip a unit of weight first, each sender's in order of nonce, within the bounds.

        ``exclude``: ids that stand in blocks between the head and the new block's parent. They are passed over, and their
        sender's next follow.
        """
        queues = [_in_order(queue, exclude) for queue in self._queues.values()]
        waiting = [
            (-_price(first), order, first)
            for order, queue in enumerate(queues)
            if (first := next(queue, None))
        ]
        heapify(waiting)
        taken: list[Prepared] = []
        while waiting and len(taken) < limits.block_transactions_max:
            _, order, prepared = heappop(waiting)
            if fee_of(prepared.weight, base_fee) > prepared.transaction.max_fee:
                continue  # its sender's later ones have to wait for it
            if prepared.weight > weight_max or len(prepared.encoded) > bytes_max:
                continue
            taken.append(prepared)
            weight_max -= prepared.weight
            bytes_max -= len(prepared.encoded)
            following = next(queues[order], None)
            if following is not None:
                heappush(waiting, (-_price(following), order, following))
        return taken

    # -- after a block

    def on_commit(self, block: Block, reader: Reader) -> None:
        """Forgets what a committed block holds or makes impossible. ``reader`` is a snapshot at this block or above."""
        self._reader = reader
        height = reader.head.height
        while self._expiring and self._expiring[0][0] <= height:
            expired = self._by_id.get(heappop(self._expiring)[1])
            if expired is not None:
                self._remove(expired)
        self._look_again({transaction.sender: None for transaction in block.transactions})

    def _look_again(self, senders: Iterable[Address]) -> None:
        """Takes the state of senders anew, and drops what of theirs can't stand in a block any more."""
        for sender in senders:
            queue = self._queues.get(sender)
            if queue is None:
                continue
            account = self._reader.account(sender)
            queue.nonce, queue.balance = account.nonce, account.balance
            spent = 0
            for prepared in self.by_sender(sender):
                spent += _offer(prepared)
                if prepared.transaction.nonce < account.nonce or not self._may_sign(prepared):
                    spent -= _offer(prepared)
                    self._remove(prepared)
                elif spent > account.balance:
                    self._remove(prepared)

    def _may_sign(self, prepared: Prepared) -> bool:
        transaction = prepared.transaction
        if transaction.sender[1:] == transaction.signer:
            return True
        height = Height(self._reader.head.height + 1)
        try:
            check_session(self._reader, height, transaction.sender, transaction.signer, transaction.body)
        except Unpayable:
            return False
        return True


def _price(prepared: Prepared) -> int:
    """Tip a unit of weight, as an integer fine enough to compare."""
    return (prepared.transaction.tip << _PRICE_SCALE_BITS) // prepared.weight


def _offer(prepared: Prepared) -> int:
    return prepared.transaction.max_fee + prepared.transaction.tip


def _in_order(queue: _Queue, exclude: Container[Hash]) -> Iterator[Prepared]:
    """What may follow one another in blocks, from the account's nonce up to the first gap, but for what is excluded."""
    nonce = queue.nonce
    while (prepared := queue.by_nonce.get(nonce)) is not None:
        if prepared.id not in exclude:
            yield prepared
        nonce += 1


def _check_replacement(old: Prepared, new: Prepared) -> None:
    least = -(-_offer(old) * limits.mempool_replacement_bps // BPS)
    before, after = old.transaction, new.transaction
    if _offer(new) < least or after.max_fee < before.max_fee or after.tip < before.tip:
        raise _refused(
            "replacement",
            "a transaction with this nonce waits already, and this one does not offer a tenth more",
            format_omnit(_offer(new)),
            f"offer {format_omnit(least)} as max_fee and tip together, neither less than before",
        )


def _refused(code: str, reason: str, value: object, remedy: str = "") -> TransactionError:
    return TransactionError(reason, value=value, remedy=remedy, code=code)
