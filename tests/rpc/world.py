"""A node's back end without network or consensus, around a real chain, mempool and content store, and clients for its server."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import aiohttp

from datalayer.store import ContentStore
from node.fingerprints import Fingerprints
from node.media_facts import MediaFacts
from omnitensor.protocol.bodies import BodyBase
from omnitensor.protocol.content import ContentId, content_id_of
from omnitensor.protocol.errors import TransactionError
from omnitensor.protocol.evidence import Evidence
from omnitensor.protocol.keys import SigningKey, format_address
from omnitensor.protocol.transactions import Transaction, transaction_id
from omnitensor.protocol.types import Address, Hash, Height, TimeMs
from omnitensor.protocol.uploads import upload_message
from omnitensor.protocol.votes import ValidatorTable
from rpc.backend import NodeStatus, PeerStatus
from rpc.feed import BlockFeed, CommittedBlock
from rpc.server import RpcConfig, RpcServer
from state.chain import Committed
from state.genesis import Genesis
from state.mempool import Mempool
from state.reader import Reader
from tests.state.chain_fixtures import CHAIN_ID, build, key, make_genesis, new_chain, order

MIB = 1024 * 1024
STATUS = NodeStatus(
    version="0.1.0",
    name="test node",
    peer_id="ab" * 32,
    validator=key("v0").address,
    syncing=False,
    sync_target=Height(0),
    view=7,
    started_ms=TimeMs(1_700_000_000_000),
    p2p_listen="127.0.0.1:9645",
    ready=True,
)
PEER = PeerStatus("cd" * 32, "10.0.0.1:9645", "peer", "0.1.0", False, Height(3), 10, TimeMs(1))


class TestBackend:
    """What a node would give; ``commit`` makes a block of what waits, or of what is given."""

    __test__: ClassVar[bool] = False

    def __init__(self, folder: Path, genesis: Genesis | None = None, quota_bytes: int = 64 * MIB) -> None:
        self.chain = new_chain(folder, genesis or make_genesis())
        self.mempool = Mempool(self.chain.reader(), self.chain.chain_id, self.chain.signatures)
        self.content = ContentStore(folder / "content", quota_bytes)
        self.fingerprints = Fingerprints(self.content)
        self.facts = MediaFacts(self.content)
        self.feed = BlockFeed()
        self.shown = STATUS
        self.elsewhere: dict[Hash, bytes] = {}
        """Content that peers hold."""
        self.arrived: dict[Hash, int] = {}
        """Bytes that came of what is still on its way."""
        self.named: set[Hash] = set()
        """Content that a submission refers to."""
        self.settled = 0
        """How often somebody's uploads were looked up on the chain."""
        self.fault: Exception | None = None
        """Raised by the next reads of the status, as a bug would be."""
        self.evidence_held: tuple[Evidence, ...] = ()

    def close(self) -> None:
        self.content.close()
        self.chain.close()

    @property
    def genesis_hash(self) -> Hash:
        return self.chain.genesis_hash

    @property
    def validator_table(self) -> ValidatorTable:
        return self.chain.validator_table()

    def reader(self) -> Reader:
        return self.chain.reader()

    async def submit(self, encoded: bytes) -> Hash:
        tx_id = transaction_id(encoded)
        if self.mempool.get(tx_id) is None and self.reader().receipt(tx_id) is None:
            self.mempool.add(encoded)
        return tx_id

    def pending(self, tx_id: Hash) -> Transaction | None:
        found = self.mempool.get(tx_id)
        return found.transaction if found else None

    def next_nonce(self, address: Address) -> int:
        return self.mempool.next_nonce(address)

    async def fetch(self, chunk_root: Hash) -> bool:
        data = self.elsewhere.get(chunk_root)
        if data is None:
            return False
        store_content(self.content, data, b"")
        return True

    def settle(self, account: Address) -> int:
        self.settled += 1
        return self.content.settle(account, lambda root: root in self.named)

    def fetched_bytes(self, chunk_root: Hash) -> int:
        return self.arrived.get(chunk_root, 0)

    def evidence(self) -> Sequence[Evidence]:
        return self.evidence_held

    def status(self) -> NodeStatus:
        if self.fault is not None:
            raise self.fault
        return self.shown

    def peers(self) -> Sequence[PeerStatus]:
        return [PEER]

    def metrics(self) -> bytes:
        return b"omnitensor_height 1\n"

    def not_ready(self, reason: str) -> None:
        self.shown = replace(
            STATUS, ready=False, not_ready_reason=reason, syncing=True, sync_target=Height(99)
        )

    def commit(self, *orders: tuple[SigningKey, BodyBase]) -> Committed:
        """A final block of orders (each with its sender's next nonce) and of what waits in the mempool."""
        nonces: dict[Address, int] = {}
        prepared = list(self.mempool.select(self.reader().next_base_fee, 10**9, 10**9))
        for sender, body in orders:
            nonce = nonces.get(sender.address, self.reader().account(sender.address).nonce)
            nonces[sender.address] = nonce + 1
            prepared.append(order(sender, nonce, body))
        block = build(self.chain, prepared)
        committed = self.chain.commit(block.hash, None)
        assert len(block.transactions) == len(prepared), "every order got into the block"
        self.mempool.on_commit(block, self.chain.reader())
        self.feed.publish(CommittedBlock(committed.block, committed.result))
        return committed


class Client:
    """Calls a server as strangers would."""

    def __init__(self, server: RpcServer, called: set[str]) -> None:
        self.url = f"http://127.0.0.1:{server.port}"
        self.called = called
        self.http = aiohttp.ClientSession(auto_decompress=False)
        self._next = 0

    async def close(self) -> None:
        await self.http.close()

    async def raw(self, body: bytes | str, **headers: str) -> tuple[int, bytes]:
        async with self.http.post(
            self.url + "/", data=body, headers={"Content-Type": "application/json", **headers}
        ) as answer:
            return answer.status, await answer.read()

    async def message(self, value: Any) -> Any:
        """The decoded answer to any JSON; None to nothing."""
        body, kind = json.dumps(value), {"Content-Type": "application/json"}
        async with self.http.post(self.url + "/", data=body, headers=kind) as answer:
            assert answer.status in (200, 204), await answer.text()
            assert (await answer.read() == b"") == (answer.status == 204)
            return await answer.json() if answer.status == 200 else None

    async def ask(self, method: str, params: Any = None) -> dict[str, Any]:
        """The whole response to one call."""
        self._next += 1
        self.called.add(method)
        number = self._next
        request = {"jsonrpc": "2.0", "id": number, "method": method}
        answer = await self.message(request if params is None else {**request, "params": params})
        assert answer["jsonrpc"] == "2.0"
        assert answer["id"] == number
        assert ("result" in answer) != ("error" in answer)
        return answer

    async def call(self, method: str, **params: Any) -> Any:
        """The result of a call."""
        answer = await self.ask(method, params)
        assert "error" not in answer, answer
        return answer["result"]

    async def fault(self, method: str, params: Any = None) -> tuple[int, str]:
        """Number and code of the error that a call meets."""
        answer = await self.ask(method, params)
        assert "error" in answer, answer
        data = answer["error"]["data"]
        assert set(data) == {"code", "reason", "value", "remedy"}
        assert data["reason"]
        return answer["error"]["code"], data["code"]

    async def begin(self, data: bytes, owner: SigningKey, **changes: Any) -> tuple[int, Any]:
        return await self.send("POST", "/uploads", json=upload_order(data, owner, **changes))

    async def send(self, verb: str, path: str, token: str = "", **more: Any) -> tuple[int, Any]:
        """Status, and decoded JSON or plain bytes."""
        headers = {**more.pop("headers", {}), **({"Authorization": f"Bearer {token}"} if token else {})}
        async with self.http.request(verb, self.url + path, headers=headers, **more) as answer:
            body = await answer.read()
            return answer.status, (await answer.json() if answer.content_type == "application/json" else body)


def upload_order(
    data: bytes,
    owner: SigningKey,
    *,
    signer: SigningKey | None = None,
    content: ContentId | None = None,
    expires_in_ms: int = 60_000,
    chain_id: str = CHAIN_ID,
    **changes: Any,
) -> dict[str, Any]:
    """The body of POST /uploads."""
    content, by = content or content_id_of(data), signer or owner
    expires = TimeMs(time.time_ns() // 1_000_000 + expires_in_ms)
    signature = by.sign(upload_message(chain_id, owner.address, content, expires))
    return {
        "content": {
            "sha256": content.sha256.hex(),
            "size": content.size,
            "chunk_root": content.chunk_root.hex(),
        },
        "account": format_address(owner.address),
        "signer": by.public.hex(),
        "expires_ms": int(expires),
        "signature": signature.hex(),
        **changes,
    }


def store_content(store: ContentStore, data: bytes, owner: bytes) -> ContentId:
    begun = store.begin(content_id_of(data), owner)
    for first, end in begun.missing:
        for index in range(first, end):
            store.put_chunk(begun.upload_id, index, data[index * MIB : (index + 1) * MIB])
    return store.finish(begun.upload_id) if not begun.stored else begun.content


async def serve(backend: TestBackend, **config: Any) -> RpcServer:
    server = RpcServer(backend, RpcConfig(**{"port": 0, **config}))
    await server.start()
    return server


def refused(call: Any) -> str:
    """The code with which a transaction is refused."""
    try:
        call()
    except TransactionError as error:
        return error.code
    return ""
