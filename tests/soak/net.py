"""Validators in namespaces: four that go on, and one whose key runs twice. Starts and kills; judges nothing.

Five of equal stake: with the fifth removed a quorum is three of four, so the net goes on while any one of them is being killed.
Of four with one removed all three that are left would be needed.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from deploy.devnet import calls
from deploy.devnet.net import Net, Node, Plan
from node import keys as node_keys
from omnitensor.protocol import hashing
from omnitensor.protocol.keys import SigningKey, format_api_key
from omnitensor.protocol.private_files import write_private
from omnitensor.protocol.types import NANO, Address
from state.genesis import Genesis
from tests.soak.places import Place

P2P_PORT: Final = 9645
VALIDATORS: Final = 5
"""Four go on; one is convicted."""
EPOCH_BLOCKS: Final = 12
EVIDENCE_EPOCHS: Final = 40
PARAMS: Final[dict[str, int]] = {
    "block_interval_ms": 300,
    "delta_ms": 300,
    "standstill_ms": 300,
    "epoch_blocks": EPOCH_BLOCKS,
    "evidence_epochs": EVIDENCE_EPOCHS,
    "unbonding_blocks": (EVIDENCE_EPOCHS + 1) * EPOCH_BLOCKS,
}
"""An epoch lasts some seconds; in ten minutes sets leave the evidence window, and what was withdrawn is paid."""
REPORTER: Final = "reporter"


class HousedNode(Node):
    """A node whose process runs in a namespace, and that is asked from within it."""

    def __init__(self, node: Node, home: Path, place: Place, peers: Sequence[str]) -> None:
        super().__init__(
            node.name if home == node.home else f"{node.name}-copy", home, node.account, node.rpc_port, 0
        )
        self.place: Final = place
        flags = {
            "--rpc-listen": f"127.0.0.1:{node.rpc_port}",
            "--p2p-listen": f"{place.address}:{P2P_PORT}",
            "--p2p-bootstrap": ",".join(f"{address}:{P2P_PORT}" for address in peers),
        }
        self._line[:0] = ["ip", "netns", "exec", place.name]
        self._line.extend(part for flag in flags.items() for part in flag)

    def call(self, method: str, /, **params: Any) -> Any:
        return self.place.inside(lambda: calls.call(self.endpoint, method, **params))

    def is_ready(self) -> bool:
        try:
            return self.place.inside(lambda: calls.get(self.endpoint, "/ready"))[0] == 200
        except calls.Unanswered:
            return False

    def metrics(self) -> str:
        return self.place.inside(lambda: calls.get(self.endpoint, "/metrics"))[1].decode()

    def has_notarized(self) -> bool:
        """Whether it cast a NOTARIZE since it runs."""
        try:
            lines = self.metrics().splitlines()
        except calls.Unanswered:
            return False
        name = 'omnitensor_votes_cast_total{kind="notarize"}'
        return any(line.startswith(name) and not line.endswith(" 0.0") for line in lines)


class SoakNet:
    """``steady`` are the four; ``doubled`` leads view 1, and ``copy`` is its folder as it was before it ever ran."""

    def __init__(self, folder: Path, places: Sequence[Place]) -> None:
        """The first places are the steady ones', then come the doubled one's and its copy's."""
        assert len(places) == VALIDATORS + 1
        plan = Plan(
            chain_id="omnitensor-soak",
            validators=VALIDATORS,
            balances={REPORTER: 10_000 * NANO},
            params=PARAMS,
            settings={"evidence-reporter-key-file": "reporter.key"},
        )
        net = Net.create(folder, plan)
        self.reporter: Final = net.accounts[REPORTER]
        self.report_key: Final = SigningKey.generate()
        for node in net.nodes:
            write_private(node.home / "reporter.key", format_api_key(self.report_key).encode() + b"\n")
        self.genesis: Final = Genesis.load(folder / "genesis.json")
        leader = first_leader(self.genesis)
        doubled = next(node for node in net.nodes if node.account.address == leader)
        steady = [node for node in net.nodes if node is not doubled]
        addresses = [place.address for place in places[: len(steady)]]
        self.steady: Final = tuple(
            HousedNode(node, node.home, place, [other for other in addresses if other != place.address])
            for node, place in zip(steady, places, strict=False)
        )
        copy = doubled.home.with_name(f"{doubled.name}-copy")
        shutil.copytree(doubled.home, copy)
        (copy / "keys" / "identity.secret").unlink()
        node_keys.create(folder / "stranger")  # another identity among peers, or nobody would talk to both
        shutil.copy(folder / "stranger" / "identity.secret", copy / "keys" / "identity.secret")
        self.doubled: Final = HousedNode(doubled, doubled.home, places[-2], addresses)
        self.copy: Final = HousedNode(doubled, copy, places[-1], addresses)

    @property
    def validators(self) -> tuple[HousedNode, ...]:
        """The steady ones, then the one that runs twice."""
        return (*self.steady, self.doubled)

    def kill(self) -> None:
        for node in (*self.steady, self.doubled, self.copy):
            node.kill()


def first_leader(genesis: Genesis) -> Address:
    """Who leads view 1 of epoch 0: drawn by stake, as the specification says it."""
    drawn = hashing.LEADER(genesis.hash, bytes(8), (1).to_bytes(8, "big"))
    left = int.from_bytes(drawn, "big") % genesis.table.total_weight
    for entry in genesis.table.entries:
        if left < entry.weight:
            return entry.address
        left -= entry.weight
    raise AssertionError("the draw is below the whole weight")
