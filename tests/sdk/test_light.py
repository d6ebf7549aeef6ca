"""The light client on blocks of a real chain: it takes what is final, and nothing that was changed on the way."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from omnitensor.light import (
    Inclusion,
    ProofError,
    check_block,
    check_finality,
    check_header_chain,
    check_receipt,
    check_transaction,
    find_transaction,
)
from omnitensor.protocol import merkle
from omnitensor.protocol.blocks import Block, Header
from omnitensor.protocol.bodies import Transfer
from omnitensor.protocol.codec import encode
from omnitensor.protocol.types import ZERO_HASH, Amount, BlsSignature, Epoch, Hash, Height, View
from omnitensor.protocol.votes import Attendance, FinalityProof, ValidatorTable, VoteKind
from omnitensor.sdk import Client, NotFoundError, ResponseError, Wallet
from omnitensor.sdk.reads import Reads
from omnitensor.sdk.results import BlockInfo
from tests.sdk.small_chain import SmallChain, finality_proof

pytestmark = pytest.mark.xdist_group("light")


@pytest.fixture
def final(chain: SmallChain, wallet, home) -> tuple[Block, FinalityProof, ValidatorTable]:  # type: ignore[no-untyped-def] # fixtures
    """A block with three transactions, its proof, and the voters of genesis."""
    with Client(chain.endpoint, home=home) as client:
        chain.is_paused = True
        orders = [
            client.submit(wallet(name), Transfer(Wallet.generate().address, Amount(1)))
            for name in ("contributor", "second", "sponsor")
        ]
        chain.is_paused = False
        height = Height(client.wait(orders[0].id).height or 0)
    block, proof = chain.reader().block(height), chain.reader().proof(height)
    assert block is not None
    assert proof is not None
    assert len(block.transactions) == 3
    return block, proof, chain.chain.genesis.table


def test_final_block_is_taken(final: tuple[Block, FinalityProof, ValidatorTable]) -> None:
    block, proof, table = final
    assert check_finality(block.header, proof, table) == block.hash
    assert check_block(block) == block.hash


OTHER_ATTENDANCE = Attendance(
    VoteKind.FINALIZE, View(1), View(0), ZERO_HASH, b"\x01", BlsSignature(bytes(96))
)


def test_every_change_of_a_header_is_noticed(final: tuple[Block, FinalityProof, ValidatorTable]) -> None:
    block, proof, table = final
    for name in Header.__struct_fields__:
        value = getattr(block.header, name)
        if isinstance(value, bytes):
            changed: object = value[:-1] + bytes([value[-1] ^ 1]) if value else b"\0"
        elif name == "attendance":
            changed = OTHER_ATTENDANCE if value is None else None
        else:
            changed = value + "x" if isinstance(value, str) else value + 1
        header = msgspec.structs.replace(block.header, **{name: changed})
        with pytest.raises(ProofError):
            check_finality(header, proof, table)


def test_every_change_of_a_proof_is_noticed(final: tuple[Block, FinalityProof, ValidatorTable]) -> None:
    block, proof, table = final
    for part in ("candidate", "certificate"):
        record = getattr(proof, part)
        for name in record.__struct_fields__:
            value = getattr(record, name)
            if isinstance(value, bytes):
                changed: object = value[:-1] + bytes([value[-1] ^ 1])
            elif isinstance(value, VoteKind):
                changed = VoteKind.NOTARIZE
            else:
                changed = value + 1
            other = msgspec.structs.replace(
                proof, **{part: msgspec.structs.replace(record, **{name: changed})}
            )
            with pytest.raises(ProofError):
                check_finality(block.header, other, table)


def test_less_than_a_quorum_is_refused(final: tuple[Block, FinalityProof, ValidatorTable]) -> None:
    block, proof, table = final
    two = finality_proof(table, proof.candidate, signers=2)
    with pytest.raises(ProofError, match="less than a quorum"):
        check_finality(block.header, two, table)
    three = finality_proof(table, proof.candidate, signers=3)
    claims_four = msgspec.structs.replace(three.certificate, signers=table.bitmap({0, 1, 2, 3}))
    with pytest.raises(ProofError, match="signature does not verify"):
        check_finality(block.header, FinalityProof(proof.candidate, claims_four), table)
    too_long = msgspec.structs.replace(three.certificate, signers=three.certificate.signers + b"\0")
    with pytest.raises(ProofError, match="bitmap"):
        check_finality(block.header, FinalityProof(proof.candidate, too_long), table)


def test_another_table_is_refused(final: tuple[Block, FinalityProof, ValidatorTable]) -> None:
    block, proof, table = final
    with pytest.raises(ProofError, match="another validator table"):
        check_finality(block.header, proof, ValidatorTable(Epoch(0), table.entries[:3]))
    with pytest.raises(ProofError, match="different epochs"):
        check_finality(block.header, proof, ValidatorTable(Epoch(1), table.entries))


def test_transaction_in_a_block(final: tuple[Block, FinalityProof, ValidatorTable]) -> None:
    block, _, _ = final
    for transaction in block.transactions:
        found = find_transaction(block, transaction.id)
        assert found is not None
        assert check_transaction(block.header, encode(found[0]), found[1]) == transaction.id
        for wrong in (
            Inclusion(found[1].index + 1, found[1].size, found[1].path),
            Inclusion(found[1].index, found[1].size + 2, found[1].path),
            Inclusion(-1, found[1].size, found[1].path),
            Inclusion(found[1].index, found[1].size, found[1].path[:-1]),
            Inclusion(found[1].index, found[1].size, found[1].path * 40),
            Inclusion(0, 10**9, found[1].path),
        ):
            with pytest.raises(ProofError):
                check_transaction(block.header, encode(transaction), wrong)
    assert find_transaction(block, Hash(bytes(32))) is None


def test_receipt_in_a_block(chain: SmallChain, final: tuple[Block, FinalityProof, ValidatorTable]) -> None:
    block, _, _ = final
    placed = [chain.reader().receipt(transaction.id) for transaction in block.transactions]
    receipts = [each.receipt for each in placed if each is not None]
    assert len(receipts) == 3
    events = chain.block_events(block.header.height)
    leaves = [merkle.leaf_hash(encode(each)) for each in (*receipts, events)]
    for index, receipt in enumerate(receipts):
        path = tuple(Hash(sibling) for sibling in merkle.inclusion_proof(leaves, index))
        assert check_receipt(block.header, receipt, Inclusion(index, 4, path)) == block.transactions[index].id
        forged = msgspec.structs.replace(receipt, code="refused")
        with pytest.raises(ProofError):
            check_receipt(block.header, forged, Inclusion(index, 4, path))


def test_changed_block_is_noticed(final: tuple[Block, FinalityProof, ValidatorTable]) -> None:
    block, _, _ = final
    for changed in (
        block.transactions[1:],
        block.transactions[::-1],
        (*block.transactions, block.transactions[-1]),
    ):
        with pytest.raises(ProofError, match="transactions are not those"):
            check_block(msgspec.structs.replace(block, transactions=changed))


def test_client_believes_no_node(chain: SmallChain, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client checks what it is told by JSON-RPC against voters that it knows; a node that lies is found out."""
    chain.wait_blocks(3)
    table = chain.chain.genesis.table
    with Client(chain.endpoint, home=home) as client:
        assert client.validator_table().hash == table.hash
        block = chain.reader().block(Height(2))
        assert block is not None
        assert client.verified_header(2, table) == block.header
        with pytest.raises(ProofError):
            client.verified_header(2, ValidatorTable(Epoch(0), table.entries[:3]))
        with pytest.raises(NotFoundError):
            client.verified_header(10**9, table)
        honest = Reads.block

        async def one_higher(self: Reads, *, height: int | None = None, hash: str | None = None) -> BlockInfo:
            return await honest(self, height=(height or 0) + 1, hash=hash)

        async def other_root(self: Reads, *, height: int | None = None, hash: str | None = None) -> BlockInfo:
            found = await honest(self, height=height, hash=hash)
            return msgspec.structs.replace(found, header={**found.header, "state_root": "00" * 32})

        async def no_header(self: Reads, *, height: int | None = None, hash: str | None = None) -> BlockInfo:
            return BlockInfo(header={"height": "high"})

        for lie, fault in ((one_higher, ProofError), (other_root, ProofError), (no_header, ResponseError)):
            monkeypatch.setattr(Reads, "block", lie)
            with pytest.raises(fault):
                client.verified_header(2, table)


def test_headers_stand_on_one_another(chain: SmallChain) -> None:
    chain.wait_blocks(3)
    blocks = [chain.reader().block(Height(height)) for height in (1, 2, 3)]
    headers = [block.header for block in blocks if block is not None]
    check_header_chain(headers)
    with pytest.raises(ProofError):
        check_header_chain([headers[0], headers[2]])
