"""Real processes: a validator's key runs a second time on a folder copied at init. It is found out, reported, slashed, removed.

And the other way round: whoever starts an old copy of its safety store is stopped before it can be convicted.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consensus.schedule.leaders import LeaderSchedule
from deploy.devnet import calls, ports
from deploy.devnet.net import STAKE, Net, Node, Plan
from deploy.devnet.process import DevnetError
from omnitensor.protocol.bodies import Scope, SessionKeyAdd
from omnitensor.protocol.keys import SigningKey, format_api_key
from omnitensor.protocol.private_files import write_private
from omnitensor.protocol.types import NANO, SUPPLY_MAX, Amount, Height, View
from omnitensor.sdk import Client, Wallet
from state.genesis import Genesis

PARAMS = {"block_interval_ms": 200, "delta_ms": 300, "standstill_ms": 150}
SECONDS_MAX = 240.0


class Bench:
    """Four validators with a reporter's key each, and a copy of the first one's folder from before it ever ran."""

    def __init__(self, folder: Path) -> None:
        plan = Plan(
            chain_id="double-voter",
            balances={"reporter": 1_000 * NANO},
            params=PARAMS,
            settings={"evidence-reporter-key-file": "reporter.key"},
        )
        self.net = Net.create(folder / "net", plan)
        genesis = Genesis.load(folder / "net" / "genesis.json")
        leads = genesis.table.entries[LeaderSchedule(genesis.table, genesis.hash).leader(View(1))].address
        self.first = next(node for node in self.net.nodes if node.account.address == leads)
        """Whoever leads view 1: it proposes as soon as it runs, and so does its copy."""
        self.others = [node for node in self.net.nodes if node is not self.first]
        self.key = SigningKey.generate()
        for node in self.net.nodes:
            write_private(node.home / "reporter.key", format_api_key(self.key).encode() + b"\n")
        rpc_port, p2p_port = ports.free_ports(10)[-2:]  # behind those of the net
        copy = self.first.home.parent / "copy"
        shutil.copytree(self.first.home, copy)
        (
            copy / "keys" / "identity.secret"
        ).unlink()  # its own identity among peers, or nobody would talk to both
        shutil.copy(self._other_identity(folder), copy / "keys" / "identity.secret")
        self.twin = Node("twin", copy, self.first.account, rpc_port, p2p_port)
        self.twin._line += ["--rpc-listen", f"127.0.0.1:{rpc_port}", "--p2p-listen", f"127.0.0.1:{p2p_port}"]

    def _other_identity(self, folder: Path) -> Path:
        from node import keys as node_keys

        stranger = folder / "stranger"
        stranger.mkdir(mode=0o700)
        node_keys.create(stranger / "keys")
        return stranger / "keys" / "identity.secret"

    def proposed(self, node: Node) -> bool:
        """Whether it cast a NOTARIZE since it runs."""
        return any(
            line.startswith('omnitensor_votes_cast_total{kind="notarize"}') and not line.endswith(" 0.0")
            for line in self._metrics(node)
        )

    def _metrics(self, node: Node) -> list[str]:
        try:
            return node.metrics().splitlines()
        except calls.Unanswered:
            return []

    def evidence(self, node: Node) -> dict[str, Any]:
        found: dict[str, Any] = node.call("chain.evidence")
        return found

    def let_report(self) -> str:
        with Client(self.others[0].endpoint) as client:
            wallet = Wallet(self.net.accounts["reporter"], self.net.accounts["reporter"].address)
            client.execute(
                wallet, SessionKeyAdd(self.key.public, int(Scope.REPORT), Height(10**6), Amount(10**12))
            )
            return wallet.text

    def stop(self) -> None:
        self.twin.kill()
        self.net.kill()


def _pool(bench: Bench, node: Node) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = bench.evidence(node)["pool"]
    except calls.Unanswered:
        return []
    return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    try:
        yield made
    finally:
        made.stop()


@pytest.mark.timeout(1_500)
def test_a_copied_key_is_found_out_slashed_and_removed(bench: Bench) -> None:
    first, twin, others = bench.first, bench.twin, bench.others
    # Each is alone and leads view 1, so each proposes a block of its own.
    for node in (first, twin):
        node.start()
        calls.until(f"{node.name} proposes alone", lambda: bench.proposed(node), SECONDS_MAX)  # noqa: B023  # called before the next
    # One that listens to both has the evidence. (The two hear of each other through it, and halt.)
    witness = others[0]
    witness.start()
    for patience in (15.0, 30.0, 60.0, 120.0, SECONDS_MAX):  # the busier the machine, the later it is heard
        try:
            calls.until("evidence", lambda: _pool(bench, witness), patience)
            break
        except DevnetError:  # one had halted before it was heard
            for node in (first, twin):
                node.kill()
                node.start()
    (held,) = _pool(bench, witness)
    assert held["fault"] == "notarize_twice"
    assert held["validators"] == [first.address]
    for node in others[1:]:
        node.start()
    calls.until("three make blocks", lambda: min(node.height() for node in others) >= 1, SECONDS_MAX)
    before = witness.call("chain.supply")
    reporter = bench.let_report()
    convicted = calls.until(
        "the conviction is on chain everywhere",
        lambda: [
            bench.evidence(node)["convictions"] for node in others if bench.evidence(node)["convictions"]
        ][2:],
        SECONDS_MAX,
    )[0][0]
    assert convicted["validator"] == first.address
    assert convicted["reporter"] == reporter
    slashed = STAKE * 5 // 100
    assert int(convicted["slashed"]) == slashed
    assert int(convicted["burned"]) == slashed // 2
    assert int(convicted["reward"]) == slashed // 10
    row = others[1].call("stake.validator", address=first.address)
    assert (row["removed"], row["jailed"], row["stake"]) == (True, True, "0")
    assert sum(int(each["amount"]) for each in row["unbonding"]) == STAKE - slashed
    supply = others[1].call("chain.supply")
    modules = sum(int(amount) for amount in supply["modules"].values())
    assert int(supply["accounts"]) + modules + int(supply["burned"]) == SUPPLY_MAX
    assert int(supply["burned"]) >= int(before["burned"]) + slashed // 2
    # The pool empties, and the three others go on without it.
    calls.until(
        "nothing waits", lambda: not any(bench.evidence(node)["pool"] for node in others), SECONDS_MAX
    )
    reached = others[0].height()
    calls.until("three go on", lambda: others[0].height() >= reached + 3, SECONDS_MAX)
    for node in others:
        assert [each["validator"] for each in bench.evidence(node)["convictions"]] == [first.address]


@pytest.mark.timeout(1_500)
@pytest.mark.parametrize("part", ["safety", "."], ids=["safety store", "whole folder"])
def test_a_restored_old_copy_convicts_nobody(bench: Bench, tmp_path: Path, part: str) -> None:
    """Killed, started again, killed, and set back to a copy from before: what its core hears of itself stops it in time."""
    first, others = bench.first, bench.others
    old, place = tmp_path / "old", first.home / part
    for node in bench.net.nodes:
        node.start()
    calls.until("some blocks", lambda: first.height() >= 2, SECONDS_MAX)
    first.kill()
    shutil.copytree(place, old)
    first.start()
    reached = others[0].height()
    calls.until("more blocks", lambda: first.height() >= reached + 4, SECONDS_MAX)
    first.kill()
    shutil.rmtree(place)
    shutil.copytree(old, place)
    first.start()
    reached = others[0].height()
    calls.until("the net goes on", lambda: others[0].height() >= reached + 8, SECONDS_MAX)
    calls.until(
        "it follows, or has said why not", lambda: first.height() >= reached or said(first), SECONDS_MAX
    )
    assert first.running
    assert said(first) in ("", "set back"), first.tail()
    for node in others:
        found = bench.evidence(node)
        assert found["pool"] == [], found
        assert found["convictions"] == [], found


def said(node: Node) -> str:
    """Why a node has halted, in short; empty where it has not."""
    try:
        reason = str(node.call("node.info")["not_ready_reason"])
    except calls.Unanswered:
        return ""
    return "set back" if "its safety store was set back" in reason else reason if "halted" in reason else ""
