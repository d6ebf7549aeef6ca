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
        self._offered: list[tuple[bytes, asyncio.Future[ProtocolError | None]]] = []
        """Of clients, in the order in which they came; taken in a few at a time."""
        self._taking: asyncio.Task[None] | None = None
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

    async def add(self, encoded: bytes) -> None:
        """Takes one in, together with others that are offered meanwhile. Raises what ``Mempool.add`` raises."""
        judged = asyncio.get_running_loop().create_future()
        self._offered.append((encoded, judged))
        if self._taking is None:
            self._taking = asyncio.create_task(self._take_offered())
        fault = await judged
        if fault is not None:
            raise fault

    async def _take_offered(self) -> None:
        """One way to the mempool's thread and back for a few: it costs as much as judging one of them."""
        try:
            while few := self._offered[: limits.transactions_judged_at_once_max]:
                del self._offered[: len(few)]
                faults = await self._call(lambda: [self._try(encoded) for encoded, _ in few])  # awaited here
                for (_, judged), fault in zip(few, faults, strict=True):
                    if not judged.done():
                        judged.set_result(fault)
        except Exception as bug:
            for _, judged in [*few, *self._offered]:
                if not judged.done():
                    judged.set_exception(bug)
            self._offered.clear()
        finally:
            self._taking = None

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
