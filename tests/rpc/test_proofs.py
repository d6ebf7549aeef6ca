"""Proofs over a real socket, checked by the light client with nothing but headers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from omnitensor.light import (
    ProofError,
    check_ancestor,
    check_events,
    check_receipt,
    check_row,
    check_transaction,
)
from omnitensor.protocol.blocks import Event, Header, Receipt
from omnitensor.protocol.bodies import CampaignOpen, CampaignSpec, Category, Transfer
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.merkle import Inclusion
from omnitensor.protocol.rows import Account, Campaign, account_key, campaign_key
from omnitensor.protocol.state_proof import StateProof
from omnitensor.protocol.types import NANO, Amount, CampaignId, Hash, Height
from tests.rpc.world import Client, TestBackend
from tests.state.chain_fixtures import key

SPEC = CampaignSpec(
    title="Stories",
    instructions="Judge what is told.",
    specification=None,
    media=("text/plain",),
    licence="CC0-1.0",
    tier_bps=(10_000,),
    categories=(Category("any", 10_000, 0),),
    unit_price=Amount(5 * NANO),
    review_fee=Amount(NANO // 10),
    item_bond=Amount(NANO // 100),
    criterion_weights=(3_000, 4_000, 3_000),
    thresholds=(60, 60, 60),
    overall_threshold=60,
    first_seats=3,
    second_seats=0,
    agree_min_bps=5_000,
    contributor_share_max_bps=10_000,
    item_bytes_max=1_000_000,
    closes_at=Height(500),
)


def row(shown: dict[str, Any]) -> tuple[bytes | None, StateProof]:
    value = None if shown["value"] is None else bytes.fromhex(shown["value"])
    siblings = tuple(Hash(bytes.fromhex(each)) for each in shown["siblings"])
    return value, StateProof(bytes.fromhex(shown["page"]), siblings)


def leaf(shown: dict[str, Any]) -> tuple[bytes, Inclusion]:
    path = tuple(Hash(bytes.fromhex(each)) for each in shown["path"])
    return bytes.fromhex(shown["leaf"]), Inclusion(shown["index"], shown["size"], path)


def header_at(backend: TestBackend, height: int) -> Header:
    block = backend.reader().block(Height(height))
    assert block is not None
    return block.header


async def test_rows_are_proven_with_their_reads(client: Client, backend: TestBackend) -> None:
    backend.commit((key("a0"), Transfer(key("a1").address, Amount(7))))
    plain = await client.call("account.get", address=format_address(key("a0").address))
    assert "proof" not in plain
    shown = await client.call("account.get", address=format_address(key("a0").address), proof=True)
    header = header_at(backend, shown["proof"]["height"])
    value, proof = row(shown["proof"])
    check_row(header, account_key(key("a0").address), value, proof)
    assert value is not None
    found = decode(Account, value)
    assert (str(found.balance), found.nonce) == (shown["balance"], shown["nonce"]) == (plain["balance"], 1)

    nobody = await client.call("account.get", address=format_address(key("nobody").address), proof=True)
    value, proof = row(nobody["proof"])
    assert value is None
    check_row(header, account_key(key("nobody").address), None, proof)
    with pytest.raises(ProofError):
        check_row(header, account_key(key("a1").address), None, proof)

    backend.commit((key("a0"), CampaignOpen(SPEC, Amount(100 * NANO))))
    campaign = await client.call("campaign.get", campaign=1, proof=True)
    value, proof = row(campaign["proof"])
    assert value is not None
    check_row(header_at(backend, 2), campaign_key(CampaignId(1)), value, proof)
    assert decode(Campaign, value).spec == SPEC
    with pytest.raises(ProofError):
        check_row(header, campaign_key(CampaignId(1)), value, proof)  # the block before
    assert "proof" not in (await client.call("campaign.list"))["campaigns"][0]


async def test_any_row_of_the_state_is_proven(client: Client, backend: TestBackend) -> None:
    backend.commit()
    header = header_at(backend, 1)
    for wanted in (b"\x10", b"\x16" + key("v0").address, b"\x24" + bytes(8), b"\x11"):
        shown = await client.call("state.row", key=wanted.hex())
        value, proof = row(shown)
        check_row(header, wanted, value, proof)
        assert (value is None) == (wanted[0] in (0x24, 0x11))
        with pytest.raises(ProofError):
            check_row(header, wanted, b"another", proof)
    for wrong in ("01", "80", "00", "ff"):
        assert await client.fault("state.row", {"key": wrong}) == (-32602, "key")
    assert (await client.fault("state.row", {"key": ""}))[0] == -32602


async def test_receipts_and_headers_are_proven(client: Client, backend: TestBackend) -> None:
    orders = [(key("a0"), Transfer(key("a1").address, Amount(n + 1))) for n in range(3)]
    backend.commit(*orders)
    for _ in range(9):
        backend.commit()
    block = backend.reader().block(Height(1))
    assert block is not None
    for index, transaction in enumerate(block.transactions):
        shown = await client.call("tx.get", id=transaction.id.hex(), proof=True)
        data, inclusion = leaf(shown["proof"])
        receipt = decode(Receipt, data)
        assert check_receipt(block.header, receipt, inclusion) == transaction.id
        assert (shown["proof"]["height"], inclusion.index, inclusion.size) == (1, index, 4)
        with pytest.raises(ProofError):
            check_receipt(block.header, msgspec.structs.replace(receipt, code="no"), inclusion)
        data, inclusion = leaf(shown["transaction_proof"])
        assert check_transaction(block.header, data, inclusion) == transaction.id
        assert data == encode(transaction)
    assert "proof" not in await client.call("tx.get", id=block.transactions[0].id.hex())
    last = backend.reader().head
    for height in range(last.height):
        shown = await client.call("chain.block", height=height, history=True)
        data, inclusion = leaf(shown["history"])
        assert shown["history"]["height"] == last.height
        assert data.hex() == shown["header"]["hash"]
        check_ancestor(last.header, height, Hash(data), inclusion)
        with pytest.raises(ProofError):
            check_ancestor(last.header, height + 1, Hash(data), inclusion)
        with pytest.raises(ProofError):
            check_ancestor(last.header, height, Hash(bytes(32)), inclusion)
    assert (await client.call("chain.block", history=True))["history"] is None
    assert "history" not in await client.call("chain.block", height=1)


async def test_events_of_a_block_are_shown_and_proven(client: Client, backend: TestBackend) -> None:
    backend.commit((key("a0"), Transfer(key("a1").address, Amount(7))))
    plain = await client.call("chain.events", height=1)
    assert plain == {"height": 1, "events": []}
    shown = await client.call("chain.events", height=1, proof=True)
    data, inclusion = leaf(shown["proof"])
    events = decode(tuple[Event, ...], data)
    assert (len(events), inclusion.index, inclusion.size) == (len(shown["events"]), 1, 2)
    check_events(header_at(backend, 1), events, inclusion)
    assert await client.fault("chain.events", {"height": 2}) == (-32001, "not_found")
    assert (await client.fault("chain.events", {}))[0] == -32602
    genesis = await client.call("chain.events", height=0, proof=True)
    data, inclusion = leaf(genesis["proof"])
    check_events(header_at(backend, 0), decode(tuple[Event, ...], data), inclusion)
