"""A net of real processes through epochs: one joins, one leaves, one changes its key, one is away for three epochs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.devnet import calls, cast, process
from deploy.devnet.net import Net, Node, Plan
from deploy.devnet.ports import free_ports
from omnitensor.protocol.keys import SigningKey, parse_address
from omnitensor.protocol.types import NANO
from omnitensor.sdk import ChainIdentity, Client, TrustError

EPOCH_BLOCKS = 8
PLAN = Plan(
    chain_id="omnitensor-epochs",
    balances={"fifth": 150_000 * NANO},
    params={
        "epoch_blocks": EPOCH_BLOCKS,
        "block_interval_ms": 150,
        "delta_ms": 300,
        "standstill_ms": 1_500,
        # So long are sets kept: for longer than the test takes from a change of key to whoever follows it, and hardly for
        # longer than it takes in all.
        "evidence_epochs": 30,
        "unbonding_blocks": 300,
    },
)
SECONDS = 300.0


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    with Net.create(tmp_path / "net", PLAN) as net:
        net.start()
        net.wait_ready()
        yield net


def another(net: Net, name: str, account: SigningKey) -> tuple[Node, dict[str, str]]:
    """A further node with keys of its own, running; and what its keys made public."""
    rpc_port, p2p_port = free_ports(2)
    node = Node(name, net.folder / name, account, rpc_port, p2p_port)
    made = process.run(process.NODE, "keys", "create", "--home", str(node.home))
    assert made.returncode == 0, made.stderr
    flags = {
        "--node-name": name,
        "--rpc-listen": f"127.0.0.1:{rpc_port}",
        "--p2p-listen": f"127.0.0.1:{p2p_port}",
        "--p2p-bootstrap": ",".join(f"127.0.0.1:{peer.p2p_port}" for peer in net.nodes),
    }
    given = [part for pair in flags.items() for part in pair]
    genesis = str(net.folder / "genesis.json")
    done = process.run(process.NODE, "init", "--home", str(node.home), "--genesis", genesis, *given)
    assert done.returncode == 0, done.stderr
    node.start()
    return node, json.loads(made.stdout)


def voters(node: Node, epoch: int | None = None) -> dict[str, str]:
    """Consensus key by address of an epoch's voters."""
    given = {} if epoch is None else {"epoch": epoch}
    found = node.call("chain.validators", **given)
    return {voter["address"]: voter["consensus_key"] for voter in found["validators"]}


def epoch_now(node: Node) -> int:
    return int(node.call("chain.validators")["epoch"])


def in_the_next_set(node: Node, holds: Callable[[dict[str, str]], bool]) -> int:
    """Waits for the first epoch from now whose voters are so; asserts that those of the epoch before were not."""

    def found() -> bool:
        return holds(voters(node))

    calls.until("the set changes", found, SECONDS)
    epoch = epoch_now(node)
    while holds(voters(node, epoch - 1)):
        epoch -= 1
    return epoch


def height_of_last(node: Node, address: str) -> int:
    """Height at which the account's last transaction is final."""
    page = node.call("tx.by_address", address=address, limit=1)["transactions"]
    return int(page[0]["height"])


def votes_as(node: Node) -> str | None:
    """The validator that a node is in its own epoch, which begins there a moment later than elsewhere."""
    found: str | None = node.call("node.info")["validator"]
    return found


def leads(node: Node, address: str, since: int) -> bool:
    lines = node.call("chain.blocks", limit=100)["blocks"]
    return any(line["proposer"] == address and line["height"] > since for line in lines)


def reaches(node: Node, height: int) -> None:
    """Waits until a node has a block that another one had at a moment: not its newest, which moves on meanwhile."""
    assert height >= 0, "the other node does not answer"
    calls.until(f"{node.name} reaches block {height}", lambda: node.height() >= height, SECONDS)


def same_chain(nodes: list[Node]) -> None:
    height = nodes[0].height()
    for node in nodes[1:]:
        reaches(node, height)
    pages = [node.call("chain.blocks", before=height + 1, limit=50)["blocks"] for node in nodes]
    assert pages[0][0]["height"] == height
    assert all([line["hash"] for line in page] == [line["hash"] for line in pages[0]] for page in pages)


def trusts_no_node(net: Net, node: Node, before: int) -> None:
    """Whoever trusts a block from ``before`` an epoch can follow the changes since; genesis is too old in the end."""
    epoch = epoch_now(node)
    height = before * EPOCH_BLOCKS - 3
    checkpoint = f"{height}:{node.call('chain.block', height=height)['header']['hash']}"
    home = net.folder / "light"
    with Client(node.endpoint, checkpoint=checkpoint, home=home) as client:
        verified = client.verified_head()
        assert verified.point.epoch >= epoch
        assert [entry.address for entry in verified.point.table.entries] == sorted(
            parse_address(address) for address in voters(node, verified.point.epoch)
        )
        account = client.proven_account(node.address)
        assert account.value.nonce == node.call("account.get", address=node.address)["nonce"]
        assert client.proven_header(verified.height // 2).height == verified.height // 2
    status = node.call("chain.status")
    chain = ChainIdentity(status["chain_id"], status["genesis_hash"])
    with Client(node.endpoint, chain=chain, home=home) as client:
        assert client.verified_head().height >= verified.height

    def too_old() -> bool:
        with Client(node.endpoint, chain=chain, home=net.folder / "other") as client:
            try:
                client.verified_head()
            except TrustError as error:
                return "newer checkpoint" in str(error)
        shutil.rmtree(
            net.folder / "other", ignore_errors=True
        )  # nothing is remembered of what it has followed
        return False

    calls.until("nobody begins with the genesis any more", too_old, SECONDS, every_s=5.0)


@pytest.mark.timeout(1_200)
def test_validators_join_leave_and_change_keys_at_boundaries(net: Net) -> None:
    first, second, third, fourth = net.nodes
    account = net.accounts["fifth"]
    fifth, public = another(net, "fifth", account)
    try:
        # It follows, registers, and votes from the epoch after the one in which it registered, without a restart.
        person = cast.log_in(net, "fifth", first)
        key = ("--consensus-key", public["consensus_key"], "--proof", public["proof_of_possession"])
        person.cli("validator", "register", "--stake", "100000", "--name", "fifth", *key)
        registered = (height_of_last(first, fifth.address) - 1) // EPOCH_BLOCKS
        assert in_the_next_set(first, lambda found: fifth.address in found) == registered + 1
        calls.until("the fifth votes", lambda: votes_as(fifth) == fifth.address, SECONDS)
        calls.until("the fifth is ready", fifth.is_ready, SECONDS)

        # With the fourth away a quorum of five needs the fifth.
        fourth.kill()
        left_at = epoch_now(first)
        since = first.height()
        calls.until("three epochs pass", lambda: epoch_now(first) >= left_at + 4, SECONDS)
        calls.until("the fifth leads", lambda: leads(first, fifth.address, since), SECONDS)
        fourth.start()
        reaches(fourth, first.height())
        calls.until("the fourth knows the epoch", lambda: epoch_now(fourth) >= left_at + 4, SECONDS)

        # The third takes its stake out, and is no voter from the next epoch on; it follows the chain.
        third_person = cast.log_in(net, "validator-3", first)
        third_person.cli("stake", "withdraw", "--amount", "100000")
        withdrew = (height_of_last(first, third.address) - 1) // EPOCH_BLOCKS
        assert in_the_next_set(first, lambda found: third.address not in found) == withdrew + 1
        reaches(third, first.height())
        calls.until("the third votes no more", lambda: votes_as(third) is None, SECONDS)

        # The second changes its key: the node with the new one follows until the next epoch.
        rotated, fresh = another(net, "rotated", second.account)
        try:
            reaches(rotated, first.height())
            second_person = cast.log_in(net, "validator-2", first)
            second_person.cli(
                *("validator", "edit", "--consensus-key", fresh["consensus_key"]),
                *("--proof", fresh["proof_of_possession"]),
            )
            changed = (height_of_last(first, second.address) - 1) // EPOCH_BLOCKS
            new_key = fresh["consensus_key"]
            assert in_the_next_set(first, lambda found: found[second.address] == new_key) == changed + 1
            # Without the old node, and with another one down, it takes the new key's votes.
            second.kill()
            fifth.kill()
            since = first.height()
            calls.until("the new key leads", lambda: leads(first, second.address, since), SECONDS)
            same_chain([first, third, fourth, rotated])
            trusts_no_node(net, first, changed)
        finally:
            rotated.kill()
    finally:
        fifth.kill()
