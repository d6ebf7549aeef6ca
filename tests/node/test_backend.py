"""What clients rely on: a transaction sent again is never paid twice and never refused once it is final."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.service import Node
from omnitensor.protocol.errors import ProtocolError, SignatureError, TransactionError
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import NANO
from p2p.messages import BlocksRequest, PeerId, Request
from tests.node.node_kit import (
    account_key,
    height_of,
    make_folders,
    node_at,
    running,
    stranger,
    transfer,
    until,
)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A chain of one validator, which goes on by itself."""
    async with running(make_folders(tmp_path, validators=1).homes) as [only]:
        yield only


def balance(node: Node, name: str) -> int:
    return node.application.reader().account(account_key(name).address).balance


async def test_sent_again_while_it_waits_and_when_it_is_final(node: Node) -> None:
    pay = transfer("alice", 0, amount=NANO, valid_until=height_of(node) + 40)
    for _ in range(3):
        assert await node._backend.submit(pay.encoded) == pay.id
    await until("it is final", lambda: node.application.reader().receipt(pay.id))
    for _ in range(3):
        assert await node._backend.submit(pay.encoded) == pay.id
    await until("it has expired long since", lambda: height_of(node) > pay.transaction.valid_until + 2)
    # A client that was told "expired" now would sign anew and pay twice.
    assert await node._backend.submit(pay.encoded) == pay.id
    assert balance(node, "bob") == 1_001 * NANO
    assert node.application.reader().account(account_key("alice").address).nonce == 1


async def test_another_with_the_same_nonce_is_refused_with_the_remedy(node: Node) -> None:
    # It waits for the nonce before it, so that no block takes it while another is offered in its place.
    first = transfer("alice", 1, amount=1)
    await node._backend.submit(first.encoded)
    with pytest.raises(TransactionError, match="tenth more"):
        await node._backend.submit(transfer("alice", 1, amount=2).encoded)
    await node._backend.submit(transfer("alice", 0).encoded)
    await until("it is final", lambda: node.application.reader().receipt(first.id))
    with pytest.raises(TransactionError, match="next nonce is 2"):
        await node._backend.submit(transfer("alice", 1, amount=2).encoded)
    assert node._backend.next_nonce(account_key("alice").address) == 2


async def test_what_is_no_transaction_is_refused(node: Node) -> None:
    good = transfer("alice", 0).encoded
    with pytest.raises(SignatureError):
        await node._backend.submit(good[:-1] + bytes([good[-1] ^ 1]))
    for bad in (b"", b"\x00", good[:-5], good + b"\x00", b"\xff" * 200_000):
        with pytest.raises(ProtocolError):
            await node._backend.submit(bad)
    assert await node._backend.submit(good)


async def test_nonces_follow_blocks_at_once(node: Node) -> None:
    """Who hears of a block may ask for the next nonce: the mempool has seen the block by then."""
    wrong: list[int] = []
    sent: list[int] = []

    def heard(_: object) -> None:
        account = node.application.reader().account(account_key("alice").address)
        if node._backend.next_nonce(account_key("alice").address) < account.nonce:
            wrong.append(account.nonce)

    node._feed.subscribe(heard)
    for nonce in range(30):
        await node._backend.submit(transfer("alice", nonce).encoded)
        sent.append(nonce)
    await until(
        "all are final",
        lambda: node.application.reader().account(account_key("alice").address).nonce == len(sent),
    )
    assert not wrong


async def test_a_follower_passes_transactions_on(tmp_path: Path) -> None:
    folders = make_folders(tmp_path, validators=1)
    async with running([*folders.homes, folders.extra("follower")]) as [validator, follower]:
        await until("connected", lambda: follower.network.peers())
        pay = transfer("alice", 0)
        await follower._backend.submit(pay.encoded)
        await until("it is final there", lambda: validator.application.reader().receipt(pay.id))
        await until("and here", lambda: follower.application.reader().receipt(pay.id))
        assert follower._backend.status().validator is None


async def test_a_stopped_node_leaves_its_folder_free(tmp_path: Path) -> None:
    folders = make_folders(tmp_path, validators=1)
    for _ in range(2):
        node = node_at(folders.homes[0])
        await node.start()
        await until("a block", lambda node=node: height_of(node) >= 1)  # type: ignore[misc]
        await node.stop()


async def test_a_claim_that_nothing_shows_does_not_send_clients_away(tmp_path: Path) -> None:
    """Identities cost nothing: strangers who come one after the other could claim some height for ever."""
    params = Params(block_interval_ms=500, delta_ms=400, standstill_ms=1_000)
    folders = make_folders(tmp_path, validators=1, params=params)

    async def says_nothing(peer_id: PeerId, request: Request) -> None:
        await asyncio.Event().wait()

    async with (
        running(folders.homes) as [node],
        stranger(folders.genesis, node, height=1_000_000, answers={BlocksRequest: says_nothing}),
    ):

        def both() -> bool:
            status = node._backend.status()
            return status.sync_target == 1_000_000 and status.ready

        await until("the claim is heard, and the node is ready", both)
