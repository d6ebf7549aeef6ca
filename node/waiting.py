"""The transactions that wait for a block, on a thread of their own: checking and ranking thousands never holds up votes.

The one owner of the mempool. Others only look: a lookup by id or sender is safe from the event loop.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from omnitensor.protocol import limits
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.transactions import Transaction
from omnitensor.protocol.types import Address, Hash
from state.chain import Committed
from state.ledger.prepared import Prepared
from state.mempool import Mempool
from state.reader import Reader

T = TypeVar("T")


class WaitingTransactions:
    """The mempool, and the ids of the latest final transactions."""

    def __init__(self, mempool: Mempool) -> None:
        self._mempool = mempool
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mempool")
        self._turn = asyncio.Lock()
        self._final: OrderedDict[Hash, None] = OrderedDict()

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Waits for what is under way."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    # -- looking, from the event loop

    def __len__(self) -> int:
        return len(self._mempool)

    @property
    def size_bytes(self) -> int:
        return self._mempool.size_bytes

    def get(self, transaction_id: Hash) -> Prepared | None:
        return self._mempool.get(transaction_id)

    def next_nonce(self, address: Address) -> int:
        return self._mempool.next_nonce(address)

    def knows(self, transaction_id: Hash) -> bool:
        """Whether a transaction waits here or became final lately. Touches no disk: peers ask this a thousand times a message."""
        return transaction_id in self._final or self._mempool.get(transaction_id) is not None

    # -- changing, on the thread

    async def add(self, encoded: bytes) -> Transaction:
        """Takes one in. Raises what ``Mempool.add`` raises."""
        return await self._call(lambda: self._mempool.add(encoded))

    async def add_each(self, encoded: Sequence[bytes]) -> list[ProtocolError | None]:
        """Takes in those that are good; for each of the others why not. A few at a time: blocks are not to wait for a flood."""
        faults: list[ProtocolError | None] = []
        for start in range(0, len(encoded), limits.transactions_judged_at_once_max):
            few = encoded[start : start + limits.transactions_judged_at_once_max]
            async with self._turn:
                faults += await self._call(lambda: [self._try(one) for one in few])  # noqa: B023  # awaited here
        return faults

    def _try(self, encoded: bytes) -> ProtocolError | None:
        try:
            self._mempool.add(encoded)
        except ProtocolError as error:
            return error
        return None

    async def select(
        self, base_fee: int, weight_max: int, bytes_max: int, exclude: frozenset[Hash]
    ) -> list[Prepared]:
        """Transactions for a block, the best paying first."""
        return await self._call(lambda: self._mempool.select(base_fee, weight_max, bytes_max, exclude))

    async def on_commit(self, committed: Sequence[Committed], reader: Reader) -> None:
        """Forgets what final blocks hold or make impossible. ``reader`` is a snapshot at the last of them."""
        await self._call(lambda: self._forget(committed, reader))

    def _forget(self, committed: Sequence[Committed], reader: Reader) -> None:
        for one in committed:
            for transaction in one.block.transactions:
                self._final[transaction.id] = None
            self._mempool.on_commit(one.block, reader)
        while len(self._final) > limits.final_transactions_known_max:
            self._final.popitem(last=False)
