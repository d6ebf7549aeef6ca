"""After everything else in this folder: no block was ever undone, all nodes agree, and no unit was made or lost at any height.

The supply is counted here from the rows of accounts and pots at every height, while a stopped node's blocks are executed
anew from genesis; the totals that the chain keeps of itself are not believed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.devnet import calls
from omnitensor.protocol.types import Height
from state.chain import Chain
from state.genesis import Genesis
from state.ledger.accounts import Pot
from state.reader import Reader
from state.schema import ACCOUNTS, POTS
from tests.e2e.town import PATIENCE_S, SUPPLY, Town

pytestmark = pytest.mark.xdist_group("e2e")


def test_no_block_was_undone_and_all_nodes_agree(town: Town) -> None:
    witness = town.witness
    top = max(node.height() for node in town.nodes)
    calls.until(
        "all nodes reach one height", lambda: all(node.height() >= top for node in town.nodes), PATIENCE_S
    )
    calls.until("the witness has seen it", lambda: min(witness.seen_by.values()) >= top, PATIENCE_S)
    calls.until("it has counted the supply often", lambda: witness.supplies > 20, PATIENCE_S)
    assert witness.disagreements == []
    assert sorted(witness.hashes) == list(range(len(witness.hashes))), "some height was never seen"
    # All of it once more: what each node answers now is what any node ever answered.
    for node in town.nodes:
        before = top + 1
        while before > 0:
            for line in node.call("chain.blocks", before=before, limit=100)["blocks"]:
                assert line["hash"] == witness.hashes[line["height"]], f"{node.name} at {line['height']}"
                before = line["height"]


@pytest.mark.timeout(1_200)
def test_supply_is_conserved_at_every_height(town: Town, tmp_path: Path) -> None:
    node = town.nodes[-1]
    assert node.stop() == 0, node.tail()
    genesis = Genesis.load(node.home / "genesis.json")
    lived, again = Chain.open(node.home / "chain", genesis), Chain.create(tmp_path / "again", genesis)
    try:
        assert counted(again.reader()) == SUPPLY
        transactions = 0
        for height in range(1, lived.head.height + 1):
            block = lived.reader().block(Height(height))
            assert block is not None
            assert block.hash.hex() == town.witness.hashes.get(height, block.hash.hex())
            transactions += len(block.transactions)
            again.check(block)
            again.commit(block.hash, None)
            assert counted(again.reader()) == SUPPLY, f"height {height}"
        assert again.head.hash == lived.head.hash
        assert transactions >= len(town.nodes), "at least the validators' API keys were registered"
    finally:
        lived.close()
        again.close()
        node.start()


def counted(reader: Reader) -> int:
    """Every account and every pot, the burned among them, added up; without the chain's own total of all accounts."""
    accounts = sum(account.balance for _, account in reader.scan(ACCOUNTS))
    pots = sum(total.amount for name, total in reader.scan(POTS) if name != Pot.ACCOUNTS.value)
    return accounts + pots
