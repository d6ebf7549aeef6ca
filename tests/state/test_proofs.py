"""Every kind of proof that a chain gives, checked in a fresh process that has headers alone, with every byte changed in turn."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omnitensor.light import ProofError, check_events, check_receipt, check_row, check_transaction
from omnitensor.protocol.blocks import Header
from omnitensor.protocol.bodies import StakeWithdraw, Transfer
from omnitensor.protocol.codec import encode
from omnitensor.protocol.merkle import Inclusion
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import NANO, Amount, Epoch, Hash, Height, View
from omnitensor.protocol.votes import Candidate
from state.chain import Chain
from state.schema import ACCOUNTS, CAMPAIGNS, ITEMS, TABLES, VALIDATORS, Kind
from tests.sdk.small_chain import finality_proof
from tests.state.chain_fixtures import build, key, make_genesis, new_chain, order

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = 16


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    """Blocks of transfers and stake that comes back, so that blocks have events of their own."""
    params = Params(unbonding_blocks=12, evidence_epochs=2, epoch_blocks=4)
    made = new_chain(tmp_path, make_genesis(accounts=40, params=params))
    made.commit(build(made, [order(key("a0"), 0, Transfer(key("v1").address, Amount(9 * NANO)))]).hash, None)
    for height in range(2, BLOCKS + 1):
        orders = [
            order(key(f"a{n}"), height - 2, Transfer(key(f"b{n}").address, Amount(n + 1)))
            for n in range(1, 8)
        ]
        withdrawal = StakeWithdraw(Amount(NANO))
        orders.append(order(key("v1"), height - 2, withdrawal))
        made.commit(build(made, orders).hash, None)
    yield made
    made.close()


def proof(kind: str, header: Header, *parts: bytes, asked: bytes = b"", patterns: int = 3) -> dict[str, Any]:
    return {
        "kind": kind,
        "header": encode(header).hex(),
        "parts": [part.hex() for part in parts],
        "asked": asked.hex(),
        "patterns": patterns,
    }


def every_kind(chain: Chain) -> list[dict[str, Any]]:
    reader, head = chain.reader(), chain.head.header
    found: list[dict[str, Any]] = []
    for name in ("a0", "a3", "v1", "b4"):
        at = ACCOUNTS.full_key(key(name).address)
        value, shown = reader.prove(at)
        assert value is not None
        found.append(proof("present", head, at, value, encode(shown), patterns=1))
    absent = [ACCOUNTS.full_key(key("nobody").address), CAMPAIGNS.full_key(1), ITEMS.full_key(2**63), b"\x11"]
    for at in absent:
        value, shown = reader.prove(at)
        assert value is None
        found.append(proof("absent", head, encode(shown), asked=at, patterns=1))
    for height in (2, BLOCKS):
        block = reader.block(Height(height))
        assert block is not None
        for transaction in (block.transactions[0], block.transactions[-1]):
            placed = reader.receipt(transaction.id)
            assert placed is not None
            encoded, place = reader.prove_transaction(placed)
            found.append(proof("transaction", block.header, encoded, encode(place)))
            found.append(
                proof("receipt", block.header, encode(placed.receipt), encode(reader.prove_receipt(placed)))
            )
        events = encode(reader.block_events(Height(height)))
        found.append(proof("events", block.header, events, encode(reader.prove_events(block))))
    for height in range(0, BLOCKS, 5):
        below = reader.block(Height(height))
        assert below is not None
        place = reader.prove_block(Height(height))
        found.append(
            proof("ancestor", head, below.hash, encode(place), asked=height.to_bytes(8, "big"), patterns=1)
        )
    return found


def alone(chain: Chain, proofs: list[dict[str, Any]]) -> dict[str, Any]:
    """What a process says that has only this."""
    given = json.dumps({"table": encode(chain.genesis.table.entries).hex(), "proofs": proofs})
    script = ROOT / "tests" / "state" / "check_alone.py"
    done = subprocess.run(
        [sys.executable, str(script)],
        input=given,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_whoever_has_a_header_alone_takes_proofs_and_no_changed_byte_of_them(chain: Chain) -> None:
    proofs = every_kind(chain)
    assert any(len(one["parts"][0]) > 100 for one in proofs if one["kind"] == "events")
    found = alone(chain, proofs)
    assert found["taken"] == []
    assert found["tried"] > 10_000
    assert not {"state", "node", "rpc", "p2p", "consensus", "datalayer", "plyvel"} & set(found["rooms"])
    assert not any(name.startswith("omnitensor.sdk") for name in found["modules"])


def test_a_proof_of_finality_bears_no_change(chain: Chain) -> None:
    block = chain.reader().block(Height(2))
    assert block is not None
    candidate = Candidate(Epoch(0), View(2), View(1), Hash(bytes(32)), block.hash)
    shown = finality_proof(chain.genesis.table, candidate, chain_id=chain.chain_id)
    parts = (encode(block.header), encode(shown))
    found = alone(chain, [proof("final", block.header, *parts, patterns=1)])
    assert found["taken"] == []
    assert found["tried"] > 500


def test_absence_is_proven_in_every_table(chain: Chain) -> None:
    reader, head = chain.reader(), chain.head.header
    for table in TABLES.values():
        if table.kind is not Kind.STATE:
            continue
        at = table.prefix_bytes + b"\xee" * (table.key_bytes or 7)
        value, shown = reader.prove(at)
        assert value is None, table.name
        check_row(head, at, None, shown)
        with pytest.raises(ProofError):
            check_row(head, at, b"\x90", shown)
        with pytest.raises(ProofError):  # what is there is not absent, whoever's proof is shown
            check_row(head, VALIDATORS.full_key(key("v0").address), None, shown)


def test_the_number_of_leaves_is_proven_too(chain: Chain) -> None:
    """One path holds good in trees of several sizes: a proof that says another number is of another tree."""
    reader = chain.reader()
    block = reader.block(Height(3))
    assert block is not None
    placed = reader.receipt(block.transactions[0].id)
    assert placed is not None
    encoded, place = reader.prove_transaction(placed)
    receipt_place = reader.prove_receipt(placed)
    events_place = reader.prove_events(block)
    check_transaction(block.header, encoded, place)
    for size in range(1, 40):
        if size != place.size:
            with pytest.raises(ProofError):
                check_transaction(block.header, encoded, Inclusion(place.index, size, place.path))
        if size != receipt_place.size:
            other = Inclusion(receipt_place.index, size, receipt_place.path)
            with pytest.raises(ProofError):
                check_receipt(block.header, placed.receipt, other)
        if size != events_place.size:
            for index in (events_place.index, size - 1):
                other = Inclusion(index, size, events_place.path)
                with pytest.raises(ProofError):
                    check_events(block.header, reader.block_events(Height(3)), other)


def test_a_receipt_is_no_event_and_events_are_no_receipt(chain: Chain) -> None:
    reader = chain.reader()
    block = reader.block(Height(BLOCKS))
    assert block is not None
    placed = reader.receipt(block.transactions[-1].id)
    assert placed is not None
    place = reader.prove_receipt(placed)
    with pytest.raises(ProofError):
        check_events(block.header, placed.receipt.events, place)
    with pytest.raises(ProofError):
        check_receipt(block.header, placed.receipt, reader.prove_events(block))
    assert check_receipt(block.header, placed.receipt, place) == Hash(block.transactions[-1].id)
