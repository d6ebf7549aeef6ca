"""Attacks on accounts that no single key owns, through a real mempool and chain: who gets in, and what it leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from omnitensor.protocol.bodies import (
    BodyBase,
    MultisigExecute,
    SessionKeyAdd,
    StakeAdd,
    SubmissionCommit,
    Transfer,
    VaultGrant,
)
from omnitensor.protocol.codec import encode
from omnitensor.protocol.errors import TransactionError
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.multisig import MemberSignature, order_message, policy_of
from omnitensor.protocol.transactions import signed, unsigned
from omnitensor.protocol.types import NANO, ZERO_HASH, Address, Amount, CampaignId, Height, TimeMs
from state.chain import Chain
from state.ledger.prepared import Prepared, prepare
from state.mempool import Mempool
from state.schema import SESSION_KEYS, VAULTS
from tests.rpc.world import TestBackend
from tests.state.chain_fixtures import CHAIN_ID, START_MS, key

MEMBERS = sorted((key("a0"), key("a1"), key("a2")), key=lambda one: one.public)
POLICY = policy_of(2, [one.public for one in MEMBERS])
SCRIPT = key("script")


def by(sender: Address, signer: SigningKey, nonce: int, body: BodyBase) -> Prepared:
    """A transaction of any sender, signed by any key."""
    transaction = unsigned(
        chain_id=CHAIN_ID,
        sender=sender,
        nonce=nonce,
        valid_until=Height(500),
        max_fee=Amount(NANO),
        tip=Amount(0),
        body=body,  # type: ignore[arg-type] # every body is one of the union
        signer=signer.public,
    )
    return prepare(signed(transaction, signer.sign(transaction.id)))


def ordered(order: BodyBase, sequence: int, *signers: int) -> MultisigExecute:
    message = order_message(CHAIN_ID, POLICY.address, sequence, Height(400), encode(order))
    signatures = tuple(MemberSignature(place, MEMBERS[place].sign(message)) for place in signers)
    return MultisigExecute(POLICY, POLICY.address, sequence, Height(400), order, signatures)  # type: ignore[arg-type] # one of the union


@pytest.fixture
def node(tmp_path: Path) -> Iterator[TestBackend]:
    made = TestBackend(tmp_path)
    made.commit((key("a3"), Transfer(POLICY.address, Amount(100 * NANO))))
    yield made
    made.close()


def refused(mempool: Mempool, prepared: Prepared) -> str:
    with pytest.raises(TransactionError) as error:
        mempool.add(prepared.encoded)
    return error.value.code


def balance(chain: Chain, address: Address) -> int:
    return chain.reader().account(address).balance


def test_members_alone_sign_nothing_as_the_account(node: TestBackend) -> None:
    spend = Transfer(key("a0").address, Amount(1))
    for signer in (*MEMBERS, SCRIPT):
        assert refused(node.mempool, by(POLICY.address, signer, 0, spend)) == "signer"
    assert refused(node.mempool, by(Address(b"\2" + POLICY.address[1:]), MEMBERS[0], 0, spend)) == "address"
    assert refused(node.mempool, by(Address(b"\xff" + POLICY.address[1:]), MEMBERS[0], 0, spend)) == "address"


def test_a_session_key_of_several_works_in_its_scope_and_spends_nothing(node: TestBackend) -> None:
    node.commit((key("a3"), ordered(SessionKeyAdd(SCRIPT.public, 2, Height(300), Amount(10**12)), 0, 0, 1)))
    assert node.reader().get(SESSION_KEYS, SCRIPT.public) is not None
    commit = SubmissionCommit(CampaignId(9), ZERO_HASH, 1)
    for body in (Transfer(key("a0").address, Amount(1)), StakeAdd(Amount(1))):
        assert refused(node.mempool, by(POLICY.address, SCRIPT, 0, body)) == "session_scope"
    node.mempool.add(by(POLICY.address, SCRIPT, 0, commit).encoded)
    committed = node.commit()
    assert [receipt.code for receipt in committed.result.receipts] == ["campaign_unknown"]
    fee = committed.result.receipts[0].fee
    assert balance(node.chain, POLICY.address) == 100 * NANO - fee
    row = node.reader().get(SESSION_KEYS, SCRIPT.public)
    assert row is not None
    assert row.allowance == 10**12 - fee
    # Its nonce moved; the members' numbers did not.
    node.commit((key("a3"), ordered(Transfer(key("a0").address, Amount(5)), 1, 1, 2)))
    assert balance(node.chain, POLICY.address) == 100 * NANO - fee - 5


def test_two_senders_of_one_order_in_one_block(node: TestBackend) -> None:
    """Both pay, and the order is carried out once."""
    order = ordered(Transfer(key("a0").address, Amount(7)), 0, 0, 2)
    committed = node.commit((key("a3"), order), (key("a1"), order))
    assert sorted(receipt.code for receipt in committed.result.receipts) == ["multisig_sequence", "ok"]
    assert balance(node.chain, POLICY.address) == 100 * NANO - 7


def test_a_vault_pays_no_fee_for_anybody(node: TestBackend) -> None:
    grant = VaultGrant(
        key("pauper").address,
        Amount(50 * NANO),
        TimeMs(START_MS),
        TimeMs(START_MS),
        TimeMs(START_MS + 10**9),
    )
    node.commit((key("a3"), grant))
    ((vault, _),) = node.reader().scan(VAULTS)
    spend = Transfer(key("pauper").address, Amount(1))
    assert refused(node.mempool, by(Address(vault), key("pauper"), 0, spend)) == "address"
    assert refused(node.mempool, by(key("pauper").address, key("pauper"), 0, spend)) == "balance"
    assert balance(node.chain, Address(vault)) == 50 * NANO
