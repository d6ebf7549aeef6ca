"""Hosts over real sockets on loopback: who meets, what arrives, who is dropped and why."""

from __future__ import annotations

import asyncio

from omnitensor.protocol.transactions import transaction_id
from p2p.messages import StatusUpdate
from tests.p2p.network_kit import hash_of, nodes, transaction_of, until, vote_of


async def test_several_hosts_gossip_votes_and_transactions_through_a_chain_of_peers() -> None:
    async with nodes() as net:
        first = await net.start(1)
        middle = await net.start(2, first.seed)
        last = await net.start(3, middle.seed)
        await until(lambda: len(middle.host.peers()) == 2)
        assert first.host.broadcast(vote_of(1)) == 1
        await until(lambda: bool(last.recorder.gossip))
        assert last.recorder.gossip == [(middle.host.peer_id, vote_of(1))]
        encoded = transaction_of(1)
        first.recorder.pool[transaction_id(encoded)] = encoded
        first.host.announce_transactions([transaction_id(encoded)])
        await until(lambda: bool(last.recorder.pool))
        assert last.recorder.pool == {transaction_id(encoded): encoded}
        status = StatusUpdate(5, hash_of(5), 6)
        assert first.host.broadcast_status(status) == 1
        await until(lambda: bool(middle.recorder.statuses))
        assert [peer.head.height for peer in middle.host.peers() if peer.peer_id == first.host.peer_id] == [5]
        await asyncio.sleep(0.1)
        assert first.recorder.gossip == []
        assert len(middle.recorder.gossip) == len(last.recorder.gossip) == 1
