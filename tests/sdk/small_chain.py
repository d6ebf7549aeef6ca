"""A chain of one process behind the real RPC server: real ledger, mempool, content store and sockets, and no network.

Blocks come as fast as a test wants them, each made final by votes of four validators that this process signs itself.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from datalayer.store import ContentStore
from node.fingerprints import Fingerprints
from node.media_facts import MediaFacts
from omnitensor.protocol import bls
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.errors import TransactionError
from omnitensor.protocol.params import Params
from omnitensor.protocol.transactions import Transaction, transaction_id
from omnitensor.protocol.types import (
    NANO,
    Address,
    Amount,
    BlsSignature,
    Hash,
    TimeMs,
    View,
)
from omnitensor.protocol.votes import Candidate, Certificate, FinalityProof, ValidatorTable, VoteKind
from rpc.backend import NodeStatus, PeerStatus
from rpc.feed import BlockFeed, CommittedBlock
from rpc.server import RpcConfig, RpcServer
from state.chain import Chain
from state.genesis import Genesis, GenesisAccount
from state.mempool import Mempool
from state.reader import Reader
from tests.attendance import attended
from tests.state.chain_fixtures import consensus_secret, genesis_validator, key, reveal

R = TypeVar("R")

CHAIN_ID: Final = "small-chain"
BLOCK_S: Final = 0.04
LAG_TIMES: Final = 3
LAG_MAX_S: Final = 0.5
"""A block comes later by so many times what this process was woken too late, but not by more than that."""
STARTED_MS: Final = TimeMs(time.time_ns() // 1_000_000 - 60_000)
"""A minute ago: who verifies from genesis trusts none that is old."""
ACCOUNTS: Final = ("sponsor", "contributor", "second", "v0", "v1", "v2", "v3")
# A window ends as soon as everybody has done their part; where somebody does not, a test waits all of it. On a busy machine
# blocks are as much slower as everything else, see LAG_TIMES.
FAST: Final = Params(
    block_interval_ms=40,
    first_campaign_id=1234,
    batch_wait_blocks=3,
    seed_delay_blocks=2,
    seat_accept_blocks=200,
    report_commit_blocks=1_000,
    report_reveal_blocks=1_000,
    challenge_blocks=5,
    submission_reveal_blocks=400,
)


class SmallChain:
    """Starts at once and serves until `stop`. It is the server's backend, too."""

    def __init__(self, folder: Path, params: Params = FAST, port: int = 0) -> None:
        self._folder: Final = folder
        self._params: Final = params
        self._port = port
        self.is_paused = False
        self.lost_answers = 0
        """Count down: so many submits are taken, and answered too late."""
        self.submitted: list[bytes] = []
        self._block_events: dict[int, tuple[Event, ...]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="small-chain", daemon=True)
        self._thread.start()
        self._producer: asyncio.Task[None] | None = None
        self.run(self._start())

    # -- for tests

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def chain(self) -> Chain:
        return self._chain

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """The result of a coroutine in the chain's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(600)

    def stop(self) -> None:
        self.run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def balance(self, name: str) -> int:
        return self.reader().account(key(name).address).balance

    def until(self, holds: Callable[[], bool], timeout_s: float = 600.0) -> None:
        """Wait for something to become so."""
        end = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.02)

    def wait_blocks(self, count: int) -> None:
        goal = self.reader().head.height + count
        self.until(lambda: self.reader().head.height >= goal)

    def block_events(self, height: int) -> tuple[Event, ...]:
        """A block's own events, as they were when it was made."""
        return self._block_events[height]

    def forget_waiting(self) -> None:
        """Lose what waits for a block, as a node does that is killed."""
        self._mempool = Mempool(self._chain.reader(), CHAIN_ID, self._chain.signatures)

    # -- the server's backend

    @property
    def genesis_hash(self) -> Hash:
        return self._chain.genesis_hash

    @property
    def validator_table(self) -> ValidatorTable:
        return self._chain.validator_table()

    @property
    def content(self) -> ContentStore:
        return self._content

    @property
    def fingerprints(self) -> Fingerprints:
        return self._fingerprints

    @property
    def facts(self) -> MediaFacts:
        return MediaFacts(self._content)

    @property
    def feed(self) -> BlockFeed:
        return self._feed

    def reader(self) -> Reader:
        return self._chain.reader()

    async def submit(self, encoded: bytes) -> Hash:
        self.submitted.append(encoded)
        try:
            found = self._mempool.add(encoded).id
        except TransactionError as error:
            if error.code != "duplicate":
                raise
            found = transaction_id(encoded)
        if self.lost_answers > 0:
            self.lost_answers -= 1
            taken = len(self.submitted)
            while len(self.submitted) == taken:  # until the client has waited in vain, and asks again
                await asyncio.sleep(0.02)
        return found

    def pending(self, transaction_id: Hash) -> Transaction | None:
        found = self._mempool.get(transaction_id)
        return found.transaction if found is not None else None

    def next_nonce(self, address: Address) -> int:
        return self._mempool.next_nonce(address)

    async def fetch(self, chunk_root: Hash) -> bool:
        return False

    def settle(self, account: Address) -> int:
        return 0

    def fetched_bytes(self, chunk_root: Hash) -> int:
        return 0

    def status(self) -> NodeStatus:
        height = self.reader().head.height
        return NodeStatus("0", "small", "00", None, False, height, 0, TimeMs(0), "", True)

    def peers(self) -> tuple[PeerStatus, ...]:
        return ()

    def metrics(self) -> bytes:
        return b""

    # -- inside

    async def _start(self) -> None:
        existing = (self._folder / "chain").exists()
        genesis = make_genesis(self._params)
        opening = Chain.open if existing else Chain.create
        self._chain = opening(self._folder / "chain", genesis)
        self._mempool = Mempool(self._chain.reader(), CHAIN_ID, self._chain.signatures)
        self._content = ContentStore(self._folder / "content", 1 << 30)
        self._fingerprints = Fingerprints(self._content)
        self._feed = BlockFeed()
        config = RpcConfig(port=self._port, calls_per_second=0)
        self._server = RpcServer(self, config)
        await self._server.start()
        self._port = self._server.port
        self._producer = asyncio.create_task(self._produce())

    async def _stop(self) -> None:
        if self._producer is not None:
            self._producer.cancel()
        await self._server.stop()
        self._content.close()
        self._chain.close()

    async def _produce(self) -> None:
        while True:
            due = self._loop.time() + BLOCK_S
            await asyncio.sleep(BLOCK_S)
            # Where everything waits for a processor, so does whoever has to be in time within so many blocks.
            await asyncio.sleep(min(LAG_MAX_S, LAG_TIMES * (self._loop.time() - due)))
            if not self.is_paused:
                self._make_block()

    def _sign(self, index: int, message: bytes) -> bytes:
        """As the validator at an index of the table."""
        name = CONSENSUS_NAMES[self._chain.validator_table().key(index)]
        return bls.sign(consensus_secret(name), message)

    def _make_block(self) -> None:
        chain, head = self._chain, self._chain.head
        params = self._params
        chosen = self._mempool.select(chain.reader().next_base_fee, params.block_weight_max, 700_000)
        height = head.height + 1
        block = chain.build(
            head.hash,
            TimeMs(time.time_ns() // 1_000_000),
            key("v0").address,
            reveal(chain, height, "v0"),
            list(chosen),
            attended(head.header, chain.validator_table(), self._sign),
        )
        candidate = Candidate(chain.epoch, View(height), View(height - 1), Hash(bytes(32)), block.hash)
        committed = chain.commit(block.hash, finality_proof(chain.validator_table(), candidate))
        self._block_events[height] = committed.result.events
        self._mempool.on_commit(committed.block, chain.reader())
        self._feed.publish(CommittedBlock(committed.block, committed.result))


def make_genesis(params: Params) -> Genesis:
    """Validators v0..v3 with a stake, and accounts with money by name."""
    return Genesis(
        CHAIN_ID,
        STARTED_MS,
        params,
        tuple(GenesisAccount(key(name).address, Amount(10_000 * NANO)) for name in ACCOUNTS),
        tuple(genesis_validator(f"v{index}") for index in range(4)),
    ).checked()


CONSENSUS_NAMES: Final = {
    bls.sk_to_pk(consensus_secret(name)): name for name in (*(f"v{n}" for n in range(6)), "v1-anew")
}
"""Who has a consensus key."""


def finality_proof(
    table: ValidatorTable, candidate: Candidate, signers: int | None = None, chain_id: str = CHAIN_ID
) -> FinalityProof:
    """A FINALIZE certificate of the first validators of the table; without a number, of all but a third of them."""
    count = len(table) - (len(table) - 1) // 3 if signers is None else signers
    unsigned = Certificate(
        VoteKind.FINALIZE,
        candidate.epoch,
        candidate.view,
        candidate.id,
        table.bitmap(set(range(count))),
        BlsSignature(bytes(96)),
    )
    return FinalityProof(candidate, signed_by(table, unsigned, chain_id))


def signed_by(table: ValidatorTable, unsigned: Certificate, chain_id: str = CHAIN_ID) -> Certificate:
    """A certificate with the signatures of those in its bitmap."""
    message = unsigned.message(chain_id)
    names = [CONSENSUS_NAMES[table.key(index)] for index in table.indexes(unsigned.signers) or ()]
    votes = [bls.sign(consensus_secret(name), message) for name in names]
    return msgspec.structs.replace(unsigned, signature=bls.aggregate(votes))
