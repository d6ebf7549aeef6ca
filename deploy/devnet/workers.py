"""Workers of a net: nodes without stake that compute, joining a net that runs already; and keys for validators to judge them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from deploy.devnet import cast, process
from deploy.devnet.net import Net, Node, expect_success
from deploy.devnet.people import Show
from deploy.devnet.ports import fixed_ports, free_ports

WORKER_BALANCE_OMNIT: Final = 2_000
"""The bond, and as much again for fees."""
JUDGE_KEY: Final = "judge.key"
JUDGING: Final = {"work-judge-key-file": JUDGE_KEY}
"""Settings of a validator's node that judges work as soon as the key is there."""


def make_judge_key(net: Net, node: Node, show: Show | None = None) -> Path:
    """A key of a validator's account, with which its node says what it found of work, in its node's folder."""
    person = cast.log_in(net, node.name, node)
    path = node.home / JUDGE_KEY
    arguments = ("api-key", "create", "--scope", "work", "--out", str(path))
    if show is not None:
        show(f"otensor-cli {' '.join(arguments)}")
    person.cli(*arguments)
    return path


def join_worker(net: Net, name: str, first_port: int | None = None, show: Show | None = None) -> Node:
    """Starts a worker for an account of the net, with one process that computes. Raises DevnetError."""
    rpc_port, p2p_port = free_ports(2) if first_port is None else fixed_ports(2, first_port)
    node = Node(name, net.folder / name, net.accounts[name], rpc_port, p2p_port, role="worker")
    flags = {
        "node-name": name,
        "rpc-listen": f"127.0.0.1:{rpc_port}",
        "p2p-listen": f"127.0.0.1:{p2p_port}",
        "p2p-bootstrap": ",".join(f"127.0.0.1:{peer.p2p_port}" for peer in net.nodes),
        "worker-key-file": str(net.key_file(name)),
        "worker-engine": "processes",
        "worker-processes": "1",
    }
    given = [part for flag, value in flags.items() for part in (f"--{flag}", value)]
    genesis = str(net.folder / "genesis.json")
    made = process.run(process.NODE, "init", "--home", str(node.home), "--genesis", genesis, *given)
    expect_success(made, f"folder of {name}")
    if show is not None:
        show(f"omnitensor-node worker --home {node.home} --worker-key-file {net.key_file(name)}")
    node.start()
    return node
