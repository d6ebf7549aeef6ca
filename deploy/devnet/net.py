"""A net of validators on this machine: makes their folders with `omnitensor-node`, starts, kills and restarts them.

Used by the devnet's story, by the end-to-end tests and by the benchmarks. Everything lies below one folder.
"""

import json
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deploy.devnet import calls, process
from deploy.devnet.genesis import GenesisValidator, write_genesis
from deploy.devnet.ports import fixed_ports, free_ports
from deploy.devnet.process import DevnetError, Program
from omnitensor.protocol.keys import SigningKey, format_address, format_secret
from omnitensor.protocol.private_files import write_private
from omnitensor.protocol.types import NANO

READY_SECONDS_MAX: Final = 240.0
STAKE: Final = 100_000 * NANO
VALIDATOR_BALANCE: Final = 1_000 * NANO
"""nanoOMNIT that a validator has besides its stake, for fees."""


@dataclass(frozen=True)
class Plan:
    """What a net is made of: how many validators, who else has money at the start, and parameters of the chain."""

    chain_id: str = "omnitensor-devnet"
    validators: int = 4
    balances: Mapping[str, int] = field(default_factory=dict)
    """Further accounts by a name of ours, in nanoOMNIT."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that differ from the devnet's own."""
    first_port: int | None = None
    """The first of consecutive ports; None takes free ones."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Flags for ``omnitensor-node init``, without the dashes."""


class Node(Program):
    """One node, a validator's mostly: its folder, ports, account, and process."""

    def __init__(
        self,
        name: str,
        home: Path,
        account: SigningKey,
        rpc_port: int,
        p2p_port: int,
        role: str = "start",
    ) -> None:
        """``role`` is the command of ``omnitensor-node`` that runs it."""
        line = process.command(process.NODE, role, "--home", str(home))
        super().__init__(name, line, home.parent / "logs" / f"{name}.log")
        self.home: Final = home
        self.account: Final = account
        self.rpc_port: Final = rpc_port
        self.p2p_port: Final = p2p_port
        self.endpoint: Final = f"http://127.0.0.1:{rpc_port}"

    @property
    def address(self) -> str:
        return format_address(self.account.address)

    def call(self, method: str, /, **params: Any) -> Any:
        """The result of a JSON-RPC call to this node."""
        return calls.call(self.endpoint, method, **params)

    def height(self) -> int:
        """Height of its last final block; -1 while it does not answer."""
        try:
            return int(self.call("chain.status")["height"])
        except calls.Unanswered:
            return -1

    def is_ready(self) -> bool:
        try:
            return calls.get(self.endpoint, "/ready")[0] == 200
        except calls.Unanswered:
            return False

    def metrics(self) -> str:
        """Its metrics in Prometheus's text format."""
        return calls.get(self.endpoint, "/metrics")[1].decode()


class Net:
    """All validators of a chain of their own, and the keys of everybody who has money on it."""

    def __init__(self, folder: Path, nodes: Sequence[Node], accounts: Mapping[str, SigningKey]) -> None:
        self.folder: Final = folder
        self.nodes: Final = tuple(nodes)
        self.accounts: Final = dict(accounts)

    @classmethod
    def create(cls, folder: Path, plan: Plan) -> "Net":
        """Makes keys, the genesis, and the folder of every node. Raises DevnetError with what the program said."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        ports = (
            free_ports(2 * plan.validators)
            if plan.first_port is None
            else fixed_ports(2 * plan.validators, plan.first_port)
        )
        names = [f"validator-{number}" for number in range(1, plan.validators + 1)]
        nodes = [
            Node(name, folder / name, SigningKey.generate(), ports[2 * place], ports[2 * place + 1])
            for place, name in enumerate(names)
        ]
        others = {name: SigningKey.generate() for name in plan.balances}
        genesis = folder / "genesis.json"
        balances = {others[name]: amount for name, amount in plan.balances.items()}
        balances |= {node.account: VALIDATOR_BALANCE for node in nodes}
        with ThreadPoolExecutor(len(nodes)) as threads:  # most of the time goes to starting Python
            validators = list(threads.map(_make_keys, nodes))
            write_genesis(genesis, plan.chain_id, validators, balances, plan.params)
            list(threads.map(lambda node: _init(node, genesis, nodes, plan.settings), nodes))
        accounts = others | {node.name: node.account for node in nodes}
        net = cls(folder, nodes, accounts)
        for name, key in accounts.items():
            write_private(net.key_file(name), format_secret(key).encode() + b"\n")
        return net

    def key_file(self, name: str) -> Path:
        """The file with somebody's secret key, for its owner alone."""
        keys = self.folder / "keys"
        keys.mkdir(exist_ok=True, mode=0o700)
        return keys / f"{name}.key"

    def address(self, name: str) -> str:
        return format_address(self.accounts[name].address)

    def start(self) -> None:
        for node in self.nodes:
            node.start()

    def wait_ready(self, timeout_s: float = READY_SECONDS_MAX) -> None:
        """Until every node that was started serves and final blocks come. Raises DevnetError with the log of who fails."""
        for node in self.nodes:
            calls.until(f"{node.name} is ready", node.is_ready, timeout_s, on_wait=self.check)
        first = self.nodes[0]
        calls.until("the first final block", lambda: first.height() >= 1, timeout_s, on_wait=self.check)

    def check(self) -> None:
        """Raises DevnetError, with the end of its log, where a node has ended by itself."""
        for node in self.nodes:
            # -9 is what a test did to it on purpose.
            if node.exit_code is not None and node.exit_code > 0:
                raise DevnetError(
                    f"{node.name} ended with code {node.exit_code}; the end of {node.log}:\n{node.tail()}"
                )

    def stop(self) -> None:
        """Ends all nodes in good order, at once; raises DevnetError for the first that would not."""
        running = [node for node in self.nodes if node.running]
        for node in running:
            node.signal(signal.SIGTERM)
        for node in running:
            code = node.wait()
            if code != 0:
                raise DevnetError(
                    f"{node.name} stopped with code {code}; the end of {node.log}:\n{node.tail()}"
                )

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def __enter__(self) -> "Net":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def _make_keys(node: Node) -> GenesisValidator:
    made = process.run(process.NODE, "keys", "create", "--home", str(node.home))
    expect_success(made, f"keys of {node.name}")
    public = json.loads(made.stdout)
    return GenesisValidator(
        account=node.account,
        name=node.name,
        stake=STAKE,
        consensus_key=public["consensus_key"],
        proof_of_possession=public["proof_of_possession"],
    )


def _init(node: Node, genesis: Path, nodes: Sequence[Node], settings: Mapping[str, str]) -> None:
    flags = {
        "node-name": node.name,
        "rpc-listen": f"127.0.0.1:{node.rpc_port}",
        "p2p-listen": f"127.0.0.1:{node.p2p_port}",
        "p2p-bootstrap": ",".join(f"127.0.0.1:{peer.p2p_port}" for peer in nodes if peer is not node),
    } | dict(settings)
    given = [part for name, value in flags.items() for part in (f"--{name}", value)]
    made = process.run(process.NODE, "init", "--home", str(node.home), "--genesis", str(genesis), *given)
    expect_success(made, f"folder of {node.name}")


def expect_success(made: Any, what: str) -> None:
    """Raises DevnetError with what a program said, where it failed."""
    if made.returncode != 0:
        raise DevnetError(f"making the {what} failed: {made.stderr.strip() or made.stdout.strip()}")
