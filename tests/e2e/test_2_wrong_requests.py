"""Strangers at the sockets of a running node: malformed and oversized requests and frames, another chain, another process.

Each gets an error that names what is wrong, and the net goes on as if nothing had been.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.devnet import calls, process
from deploy.devnet.net import Net, Plan
from omnitensor.protocol.bodies import Transfer
from omnitensor.protocol.codec import encode
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.limits import rpc_batch_calls_max, rpc_body_bytes_max
from omnitensor.protocol.transactions import Transaction, signed, unsigned
from omnitensor.protocol.types import Amount, Height
from tests.e2e.town import PATIENCE_S, Town


@pytest.fixture
def alive(town: Town) -> Iterator[None]:
    """Whatever a test does, afterwards all four nodes run and blocks go on."""
    yield
    town.check()
    town.wait_blocks(town.first, 2)
    assert all(node.running for node in town.nodes)


pytestmark = [pytest.mark.usefixtures("alive"), pytest.mark.xdist_group("e2e")]


INVALID_PARAMS = -32602
WHOLE_LOG = 10**9
"""Bytes: busy nodes write much between a line and the look at it."""


def answer_to(town: Town, body: bytes) -> Any:
    return json.loads(calls.post(town.first.endpoint, body)[1])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"chain.status","params":', -32700),
        (b"[]", -32600),
        (b"7", -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"chain.status"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"no.such"}', -32601),
        (b'{"jsonrpc":"2.0","id":1,"method":"chain.block","params":{"height":"high"}}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"chain.status","params":{"no":1}}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"tx.submit","params":{"tx":"zz"}}', -32602),
    ],
)
def test_malformed_request(town: Town, body: bytes, code: int) -> None:
    answer = answer_to(town, body)
    assert answer["error"]["code"] == code
    assert answer["error"]["message"]


def test_oversized_request(town: Town) -> None:
    status, body = calls.post(town.first.endpoint, b" " * (rpc_body_bytes_max + 1))
    assert status == 413
    assert str(rpc_body_bytes_max) in body.decode()


def test_oversized_batch_and_depth(town: Town) -> None:
    one = {"jsonrpc": "2.0", "id": 1, "method": "chain.status"}
    answer = answer_to(town, json.dumps([one] * (rpc_batch_calls_max + 1)).encode())
    assert answer["error"]["code"] == -32600
    assert str(rpc_batch_calls_max) in json.dumps(answer["error"])
    deep = b'{"jsonrpc":"2.0","id":1,"method":"chain.status","params":' + b"[" * 5_000 + b"]" * 5_000 + b"}"
    assert answer_to(town, deep)["error"]["code"] in (-32700, -32600)


def transfer(town: Town, *, chain_id: str, key: SigningKey, nonce: int = 0, amount: int = 1) -> Transaction:
    """A signed order to send somebody one unit."""
    draft = unsigned(
        chain_id=chain_id,
        sender=key.address,
        nonce=nonce,
        valid_until=Height(town.first.height() + 100),
        max_fee=Amount(10**7),
        tip=Amount(0),
        body=Transfer(to=SigningKey.generate().address, amount=Amount(amount)),
        signer=key.public,
    )
    return signed(draft, key.sign(draft.id))


def refusal(town: Town, transaction: bytes) -> dict[str, Any]:
    with pytest.raises(calls.CallError) as caught:
        town.first.call("tx.submit", tx=transaction.hex())
    assert -32099 <= caught.value.number <= -32000 or caught.value.number == INVALID_PARAMS
    return caught.value.data


def test_transaction_of_another_chain(town: Town) -> None:
    key = town.net.accounts["contributor"]
    before = nonces(town)
    found = refusal(town, encode(transfer(town, chain_id="omnitensor-other", key=key, nonce=before[1])))
    assert "omnitensor-other" in found["value"] + found["reason"]
    assert found["remedy"]
    assert nonces(town) == before


def nonces(town: Town) -> tuple[int, int]:
    """Of the contributor: the nonce of the next block's transaction, and behind what waits. Its balance may move by itself."""
    found = town.first.call("account.get", address=town.net.address("contributor"))
    return int(found["nonce"]), int(found["next_nonce"])


def test_transaction_with_a_wrong_key_or_damaged(town: Town) -> None:
    key = town.net.accounts["contributor"]
    good = transfer(town, chain_id="omnitensor-e2e", key=key, nonce=0)
    forged = signed(good, SigningKey.generate().sign(good.id))
    assert refusal(town, encode(forged))["reason"]
    assert refusal(town, encode(good)[:-1])["reason"]
    assert refusal(town, encode(good) + b"\x00")["reason"]
    assert refusal(town, secrets.token_bytes(300))["reason"]


def test_transaction_without_money(town: Town) -> None:
    found = refusal(town, encode(transfer(town, chain_id="omnitensor-e2e", key=SigningKey.generate())))
    assert found["reason"]
    assert found["value"]
    assert found["remedy"]


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\xff\xff" + b"x" * 2_000, id="a record over the limit"),
        pytest.param(b"\x00\x00", id="an empty record"),
        pytest.param(b"\x00\x20" + b"\x01" * 32, id="a handshake of nonsense"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="another protocol"),
    ],
)
def test_malformed_frame(town: Town, sent: bytes) -> None:
    """The node hangs up by itself, and says nothing that a stranger could use."""
    with socket.create_connection(("127.0.0.1", town.first.p2p_port), timeout=PATIENCE_S) as stranger:
        stranger.sendall(sent)
        received = 0
        try:
            while piece := stranger.recv(4_096):
                received += len(piece)
        except ConnectionResetError:
            pass
        assert received < 4_096
    calls.until(
        "the refusal is in the log",
        lambda: "refused a connection" in town.first.tail(WHOLE_LOG) or None,
        PATIENCE_S,
    )


@pytest.fixture(scope="module")
def other(town: Town) -> Iterator[Net]:
    """A net of one validator on a chain of its own that dials the first net's nodes."""
    plan = Plan(
        chain_id="omnitensor-other",
        validators=1,
        settings={"p2p-bootstrap": f"127.0.0.1:{town.first.p2p_port}"},
    )
    with Net.create(town.folder / "other", plan) as net:
        net.start()
        net.wait_ready()
        yield net


def test_node_of_another_chain_is_refused(town: Town, other: Net) -> None:
    stranger = other.nodes[0]
    pattern = re.compile(r"omnitensor-(e2e|other)")

    def said(log: str) -> bool:
        return any(
            "chain" in line and set(pattern.findall(line)) >= {"e2e", "other"} for line in log.splitlines()
        )

    calls.until(
        "a log names both chains",
        lambda: said(town.first.tail(WHOLE_LOG)) or said(stranger.tail(WHOLE_LOG)),
        PATIENCE_S,
    )
    assert stranger.call("p2p.peers")["peers"] == []
    known = {peer["peer_id"] for peer in town.first.call("p2p.peers")["peers"]}
    assert stranger.call("node.info")["peer_id"] not in known
    assert stranger.height() > 0, "it goes on alone"


def test_second_process_on_one_database(town: Town) -> None:
    home = town.first.home
    second = process.run(
        process.NODE,
        "start",
        "--home",
        str(home),
        "--rpc-listen",
        "127.0.0.1:0",
        "--p2p-listen",
        "127.0.0.1:0",
    )
    assert second.returncode == 1
    assert str(home) in second.stderr
    assert "Traceback" not in second.stderr
    assert "(" in second.stderr.splitlines()[-1], "it says what to do"
    calls.until("the first is ready", town.first.is_ready, PATIENCE_S)


def test_second_genesis_over_a_chain(town: Town, tmp_path: Path) -> None:
    home = town.first.home
    before = (home / "genesis.json").read_bytes()
    other = tmp_path / "genesis.json"
    other.write_bytes(before.replace(b"omnitensor-e2e", b"omnitensor-new"))
    again = process.run(process.NODE, "init", "--home", str(home), "--genesis", str(other))
    assert again.returncode == 1
    assert str(home / "chain") in again.stderr
    assert (home / "genesis.json").read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (b'"chain_id"', b'"chain_idea"', "chain_idea"),
        (b'"block_interval_ms": 500', b'"block_interval_ms": 0.5', "0.5"),
        (b'"block_interval_ms": 500', b'"block_interval_ms": 1', "block_interval_ms"),
        (b'"params": {', b'"params": {"no_such": 1, ', "no_such"),
        (b"{", b"", "JSON"),
    ],
)
def test_wrong_genesis(town: Town, tmp_path: Path, old: bytes, new: bytes, named: str) -> None:
    genesis = tmp_path / "genesis.json"
    genesis.write_bytes((town.net.folder / "genesis.json").read_bytes().replace(old, new, 1))
    home = tmp_path / "home"
    made = process.run(process.NODE, "init", "--home", str(home), "--genesis", str(genesis))
    assert made.returncode == 1
    assert named in made.stderr
    assert "Traceback" not in made.stderr
    assert not home.exists(), "nothing was half made"
