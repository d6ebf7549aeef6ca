"""Transactions that wait for a block. Bounded in number, bytes and by sender; one thread has it. Writes nothing.

What is refused here could not stand in the next block, or pays no more than what it would push out. Accounts, session keys and
the base fee are those of the last committed block; after each one only the senders in it are looked at again. What is behind a
gap pays nobody until the gap is filled: it waits for a few blocks only, and a tenth of the room is the most that all of it gets.
A block's few receipts of work are shared out among the workers in turn (``receipt_turns``).
"""

from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from typing import Final

from omnitensor.protocol import limits
from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.bodies import WorkCommit
from omnitensor.protocol.epochs import epoch_of
from omnitensor.protocol.errors import TransactionError
from omnitensor.protocol.keys import is_own_key
from omnitensor.protocol.transactions import Transaction
from omnitensor.protocol.types import BPS, ZERO_HASH, Address, Hash, Height, PublicKey
from omnitensor.protocol.work import Receipt, synthetic_job
from state.genesis import NO_PROPOSER
from state.ledger.context import BlockContext
from state.ledger.errors import Unpayable
from state.ledger.fees import fee_of
from state.ledger.prepared import Prepared, prepare_encoded
from state.ledger.sessions import check_allowance, check_session, check_session_tip
from state.ledger.transition import check_envelope
from state.ledger.workers import is_active
from state.reader import Reader
from state.receipt_turns import Waiting, turns
from state.schema import SESSION_KEYS, WORKERS
from state.sender_queue import SenderQueue, offer_of
from state.signatures import SignatureChecker

_PRICE_SCALE_BITS: Final = 32


class Mempool:
    """Waiting transactions, by id and by sender."""

    def __init__(self, reader: Reader, chain_id: str, signatures: SignatureChecker) -> None:
        self._chain_id: Final = chain_id
        self._signatures: Final = signatures
        self._params = reader.params()
        self._reader = reader
        self._by_id: dict[Hash, Prepared] = {}
        self._queues: dict[Address, SenderQueue] = {}
        self._expiring: list[tuple[int, Hash]] = []
        """By the last height at which each may stand in a block; it may name some that are gone."""
        self._cheapest: list[tuple[int, int, Hash]] = []
        """By price, of one price the latest first; it may name some that are gone."""
        self._taken_in = 0
        self._receipts: dict[Hash, int] = {}
        """Receipts of work that wait, by the number of what was taken in before."""
        self._served: dict[Address, int] = {}
        """Senders of receipts, and the last block with one; whoever had one last is at the end."""
        self._bytes = 0
        self._gapped: dict[Address, int] = {}
        """Senders with something behind a gap, and the height since when, the oldest first."""
        self._gapped_count = self._gapped_bytes = 0

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
        return queue.sorted() if queue else ()

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
        self._check_gap(queue, prepared, replaced)
        self._signatures.check(prepared)
        self._make_room(prepared, replaced)
        self._insert(queue, prepared, replaced)
        return prepared.transaction

    def _check_next_block(self, prepared: Prepared) -> None:
        """Whether it could stand in the next block but for nonce and balance. Raises Unpayable."""
        transaction, reader = prepared.transaction, self._reader
        check_envelope(self._context(), transaction)
        own = is_own_key(transaction.sender, transaction.signer)
        if not own:
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
        if not own:
            check_session_tip(transaction.tip, fee)

    def _check_queue(self, queue: SenderQueue, prepared: Prepared) -> Prepared | None:
        """Nonce, balance, allowance and what it would replace, among the sender's others. Raises TransactionError."""
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
        offered = offer_of(prepared)
        if replaced is not None:
            _check_replacement(replaced, prepared)
        total = queue.offered + offered - (offer_of(replaced) if replaced else 0)
        if total > queue.balance:
            raise _refused(
                "balance",
                f"the account has {format_omnit(queue.balance)}, and what waits of it may take {format_omnit(total)}",
                format_omnit(offered),
                "add money to the account, or lower max_fee or tip",
            )
        if not is_own_key(transaction.sender, transaction.signer):
            others = [each for each in queue.signed_by(transaction.signer) if each is not replaced]
            check_allowance(self._reader, transaction.signer, offered + sum(map(offer_of, others)))
        return replaced

    def _check_gap(self, queue: SenderQueue, prepared: Prepared, replaced: Prepared | None) -> None:
        """Whether there is room for one more behind a gap, where it would be. Raises TransactionError."""
        if prepared.transaction.nonce <= queue.next_nonce():
            return
        count, size = self._gapped_count + 1, self._gapped_bytes + len(prepared.encoded)
        if replaced is not None:
            count, size = count - 1, size - len(replaced.encoded)
        if count > limits.mempool_gapped_max or size > limits.mempool_gapped_bytes_max:
            raise _refused(
                "nonce_gap",
                f"the account's next nonce is {queue.next_nonce()}, and the node holds no more behind gaps now",
                prepared.transaction.nonce,
                "send the earlier ones first",
            )

    def _make_room(self, prepared: Prepared, replaced: Prepared | None) -> None:
        """When the pool is full, pushes out what pays less, as much as a tenth of the pool. Raises TransactionError."""
        count, in_all = len(self._by_id), self._bytes + len(prepared.encoded)
        if replaced is not None:
            count, in_all = count - 1, in_all - len(replaced.encoded)
        if count < limits.mempool_transactions_max and in_all <= limits.mempool_bytes_max:
            return
        pushed_out: dict[Hash, Prepared] = {}
        passed_by: list[tuple[int, int, Hash]] = []
        free_from = (limits.mempool_transactions_max * 9 // 10, limits.mempool_bytes_max * 9 // 10)
        while (count > free_from[0] or in_all > free_from[1]) and (
            entry := self._pop_below(_price(prepared))
        ):
            passed_by.append(entry)
            other = self._by_id[entry[2]]
            sender = other.transaction.sender
            if sender == prepared.transaction.sender:
                continue
            # Whoever goes takes its sender's later ones along: they can't stand in a block without it.
            for later in self._queues[sender].from_nonce(other.transaction.nonce):
                if later.id not in pushed_out:
                    pushed_out[later.id] = later
                    count -= 1
                    in_all -= len(later.encoded)
        for entry in passed_by:
            heappush(self._cheapest, entry)
        if count >= limits.mempool_transactions_max or in_all > limits.mempool_bytes_max:
            raise _refused(
                "mempool_full",
                "the node has as many waiting transactions as it takes, and all pay as much",
                format_omnit(prepared.transaction.tip),
                "try again later, or give a higher tip",
            )
        for other in pushed_out.values():
            self._remove(other)

    def _pop_below(self, price: int) -> tuple[int, int, Hash] | None:
        """Takes the cheapest of those that pay less than a price off the heap; None where none does."""
        cheapest = self._cheapest
        while cheapest and cheapest[0][2] not in self._by_id:
            heappop(cheapest)
        return heappop(cheapest) if cheapest and cheapest[0][0] < price else None

    def _insert(self, queue: SenderQueue, prepared: Prepared, replaced: Prepared | None) -> None:
        sender = prepared.transaction.sender
        with self._gaps_of(
            sender, queue
        ):  # as one change: what is behind a gap is so no later for being replaced
            if replaced is not None:
                del self._by_id[replaced.id]
                self._receipts.pop(replaced.id, None)
                self._bytes -= len(replaced.encoded)
                queue.drop(replaced)
            queue.put(prepared)
        self._queues[sender] = queue
        self._by_id[prepared.id] = prepared
        self._bytes += len(prepared.encoded)
        self._taken_in += 1
        if isinstance(prepared.transaction.body, WorkCommit):
            self._receipts[prepared.id] = self._taken_in
        heappush(self._expiring, (self._last_height(prepared), prepared.id))
        heappush(self._cheapest, (_price(prepared), -self._taken_in, prepared.id))
        # Both heaps name what is gone, and twice what came again, until it is at the top; never more of that than of the rest.
        if len(self._expiring) > 2 * len(self._by_id) + 1_000:
            self._expiring = list(
                {entry[1]: entry for entry in self._expiring if entry[1] in self._by_id}.values()
            )
            heapify(self._expiring)
        if len(self._cheapest) > 2 * len(self._by_id) + 1_000:
            self._cheapest = list(
                {entry[2]: entry for entry in self._cheapest if entry[2] in self._by_id}.values()
            )
            heapify(self._cheapest)

    def _last_height(self, prepared: Prepared) -> int:
        """The last height at which it may stand in a block: its own, or its session key's where that ends earlier."""
        transaction = prepared.transaction
        if is_own_key(transaction.sender, transaction.signer):
            return transaction.valid_until
        session = self._reader.get(SESSION_KEYS, transaction.signer)
        assert session is not None, "the session key was found when the transaction was checked"
        return min(transaction.valid_until, session.valid_until)

    def _remove(self, prepared: Prepared) -> None:
        """Removes a waiting one; removing what is gone changes nothing."""
        if self._by_id.pop(prepared.id, None) is None:
            return
        self._receipts.pop(prepared.id, None)
        sender = prepared.transaction.sender
        queue = self._queues[sender]
        self._bytes -= len(prepared.encoded)
        with self._gaps_of(sender, queue):
            queue.drop(prepared)
        if not queue.by_nonce:
            del self._queues[sender]

    @contextmanager
    def _gaps_of(self, sender: Address, queue: SenderQueue) -> Iterator[None]:
        """Keeps the sums of what is behind gaps, while a queue changes."""
        self._gapped_count -= queue.gapped_count
        self._gapped_bytes -= queue.gapped_bytes
        yield
        self._gapped_count += queue.gapped_count
        self._gapped_bytes += queue.gapped_bytes
        if not queue.gapped_count:
            self._gapped.pop(sender, None)
        elif sender not in self._gapped:
            self._gapped[sender] = self._reader.head.height

    def _fresh_queue(self, sender: Address) -> SenderQueue:
        """The sender's queue with its account as it is now: others may have paid it. ``_insert`` keeps a new one."""
        account = self._reader.account(sender)
        queue = self._queues.get(sender)
        if queue is None:
            return SenderQueue(account.nonce, account.balance)
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

        Of workers' receipts there are no more than a block may have, and each worker has its turns: what is over waits, and what
        its sender has behind it.

        ``exclude``: ids that stand in blocks between the head and the new block's parent. They are passed over, and their
        sender's next follow.
        """
        queues = [queue.in_order(exclude) for queue in self._queues.values()]
        waiting = [
            (-_price(first), order, first)
            for order, queue in enumerate(queues)
            if (first := next(queue, None))
        ]
        heapify(waiting)
        receipts_left = self._turns(base_fee, exclude)
        taken: list[Prepared] = []
        while waiting and len(taken) < limits.block_transactions_max:
            _, order, prepared = heappop(waiting)
            if fee_of(prepared.weight, base_fee) > prepared.transaction.max_fee:
                continue  # its sender's later ones have to wait for it
            if prepared.weight > weight_max or len(prepared.encoded) > bytes_max:
                continue
            sender = prepared.transaction.sender
            if sender in receipts_left and prepared.id in self._receipts:
                if not receipts_left[sender]:
                    continue
                receipts_left[sender] -= 1
            taken.append(prepared)
            weight_max -= prepared.weight
            bytes_max -= len(prepared.encoded)
            following = next(queues[order], None)
            if following is not None:
                heappush(waiting, (-_price(following), order, following))
        return taken

    def _turns(self, base_fee: int, exclude: Container[Hash]) -> dict[Address, int]:
        """How many receipts of each worker the next block takes.

        Not of others' orders of that kind: the ledger refuses them, so they take nobody's place.
        """
        queues: dict[Address, list[Waiting]] = {}
        for sender in dict.fromkeys(self._by_id[each].transaction.sender for each in self._receipts):
            row = self._reader.get(WORKERS, sender)
            if row is not None and is_active(row, self._params):
                queues[sender] = self._receipts_of(sender, base_fee, exclude)
        return turns(queues, self._served, self._params.work_receipts_per_block_max)

    def _receipts_of(self, sender: Address, base_fee: int, exclude: Container[Hash]) -> list[Waiting]:
        """A worker's receipts that could stand in a block with this base fee, in order."""
        found: list[Waiting] = []
        for prepared in self._queues[sender].in_order(exclude):
            transaction = prepared.transaction
            if fee_of(prepared.weight, base_fee) > transaction.max_fee:
                break
            if isinstance(transaction.body, WorkCommit):
                arrived = self._receipts[prepared.id]
                found.append(Waiting(self._is_synthetic(transaction.body.receipt), _price(prepared), arrived))
        return found

    def _is_synthetic(self, receipt: Receipt) -> bool:
        return receipt.job == synthetic_job(self._chain_id, epoch_of(receipt.anchor, self._params))

    # -- after a block

    def on_commit(self, block: Block, reader: Reader) -> None:
        """Forgets what a committed block holds or makes impossible. ``reader`` is a snapshot at this block or above."""
        self._reader = reader
        before, self._params = self._params, reader.params()
        if self._params.block_weight_max < before.block_weight_max:
            for prepared in list(self._by_id.values()):
                if prepared.weight > self._params.block_weight_max:
                    self._remove(prepared)
        height = reader.head.height
        while self._expiring and self._expiring[0][0] <= height:
            expired = self._by_id.get(heappop(self._expiring)[1])
            if expired is None:
                continue
            # A session key may have got a longer term since.
            last = self._last_height(expired)
            if last > height:
                heappush(self._expiring, (last, expired.id))
            else:
                self._remove(expired)
        for transaction in block.transactions:
            if isinstance(transaction.body, WorkCommit):
                self._served.pop(transaction.sender, None)
                self._served[transaction.sender] = height
        while len(self._served) > limits.workers_max:
            del self._served[next(iter(self._served))]
        self._look_again({transaction.sender: None for transaction in block.transactions})
        self._end_gaps(height)

    def _look_again(self, senders: Iterable[Address]) -> None:
        """Takes the state of senders anew, and drops what of theirs can't stand in a block any more."""
        for sender in senders:
            queue = self._queues.get(sender)
            if queue is None:
                continue
            account = self._reader.account(sender)
            with self._gaps_of(sender, queue):
                queue.moved_to(account.nonce, account.balance)
            spent, spent_by = 0, dict[PublicKey, int]()
            for prepared in queue.sorted():
                signer, offer = prepared.transaction.signer, offer_of(prepared)
                by_signer = spent_by.get(signer, 0) + offer
                if prepared.transaction.nonce < account.nonce or not self._may_sign(prepared, by_signer):
                    self._remove(prepared)
                    continue
                spent, spent_by[signer] = spent + offer, by_signer
                if spent > account.balance:
                    self._remove(prepared)

    def _end_gaps(self, height: int) -> None:
        """Lets go of what has been behind a gap for as long as such is held."""
        while self._gapped:
            sender, since = next(iter(self._gapped.items()))
            if since + limits.mempool_gap_blocks_max > height:
                return
            queue = self._queues[sender]
            for prepared in queue.from_nonce(queue.next_nonce()):
                self._remove(prepared)

    def _may_sign(self, prepared: Prepared, offered: int) -> bool:
        """Whether its signer still may, and may spend what all of it up to this one offers."""
        transaction = prepared.transaction
        if is_own_key(transaction.sender, transaction.signer):
            return True
        height = Height(self._reader.head.height + 1)
        try:
            check_session(self._reader, height, transaction.sender, transaction.signer, transaction.body)
            check_allowance(self._reader, transaction.signer, offered)
        except Unpayable:
            return False
        return True


def _price(prepared: Prepared) -> int:
    """Tip a unit of weight, as an integer fine enough to compare."""
    return (prepared.transaction.tip << _PRICE_SCALE_BITS) // prepared.weight


def _check_replacement(old: Prepared, new: Prepared) -> None:
    least = -(-offer_of(old) * limits.mempool_replacement_bps // BPS)
    before, after = old.transaction, new.transaction
    if offer_of(new) < least or after.max_fee < before.max_fee or after.tip < before.tip:
        raise _refused(
            "replacement",
            "a transaction with this nonce waits already, and this one does not offer a tenth more",
            format_omnit(offer_of(new)),
            f"offer {format_omnit(least)} as max_fee and tip together, neither less than before",
        )


def _refused(code: str, reason: str, value: object, remedy: str = "") -> TransactionError:
    return TransactionError(reason, value=value, remedy=remedy, code=code)
