"""account.multisig over a real socket: before and after an account's first order, with a proof, and asked the wrong way."""

from __future__ import annotations

from omnitensor.light import check_row
from omnitensor.protocol.bodies import MultisigExecute, Transfer
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.multisig import MemberSignature, order_message, policy_of
from omnitensor.protocol.rows import Multisig, multisig_key
from omnitensor.protocol.types import Amount, Height
from tests.rpc.test_proofs import header_at, row
from tests.rpc.world import Client, TestBackend
from tests.state.chain_fixtures import CHAIN_ID, key

MEMBERS = sorted((key("a0"), key("a1"), key("a2")), key=lambda one: one.public)
POLICY = policy_of(2, [one.public for one in MEMBERS])
TEXT = format_address(POLICY.address)


async def test_members_show_with_the_first_order(backend: TestBackend, client: Client) -> None:
    shown = await client.call("account.multisig", address=TEXT)
    assert shown == {"address": TEXT, "sequence": 0, "threshold": None, "members": None}
    inner = Transfer(key("a3").address, Amount(5))
    message = order_message(CHAIN_ID, POLICY.address, 0, Height(100), encode(inner))
    signatures = tuple(MemberSignature(place, MEMBERS[place].sign(message)) for place in (0, 1))
    body = MultisigExecute(POLICY, POLICY.address, 0, Height(100), inner, signatures)
    backend.commit((key("a0"), Transfer(POLICY.address, Amount(10**9))), (key("a1"), body))
    shown = await client.call("account.multisig", address=TEXT, proof=True)
    assert (shown["sequence"], shown["threshold"]) == (1, 2)
    assert shown["members"] == [format_address(one.address) for one in MEMBERS]
    value, proof = row(shown["proof"])
    check_row(header_at(backend, 1), multisig_key(POLICY.address), value, proof)
    assert value is not None
    assert decode(Multisig, value) == Multisig(POLICY, 1)
    placed = await client.call("tx.by_address", address=TEXT)
    assert len(placed["transactions"]) == 2, "its order is found under its own address"


async def test_an_address_of_one_key_has_no_members(client: Client) -> None:
    assert (await client.fault("account.multisig", {"address": format_address(key("a0").address)}))[
        1
    ] == "address"
