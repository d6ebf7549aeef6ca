"""Reads that believe no node: proven values are the chain's, and a node that lies in any part is found out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from omnitensor.light import ProofError
from omnitensor.protocol.codec import encode
from omnitensor.protocol.rows import ItemStatus, account_key
from omnitensor.protocol.types import Amount, Hash, Height
from omnitensor.sdk import (
    ChainIdentity,
    Client,
    Contributor,
    InputError,
    NotFoundError,
    ResponseError,
    RpcError,
    Sponsor,
    Wallet,
)
from omnitensor.sdk.reads import Reads
from tests.sdk.samples import write_texts
from tests.sdk.small_chain import CHAIN_ID, SmallChain
from tests.state.chain_fixtures import key

pytestmark = pytest.mark.xdist_group("proven")

Wallets = Callable[[str], Wallet]
ROOT = Path(__file__).resolve().parents[2]


def identity(chain: SmallChain) -> ChainIdentity:
    return ChainIdentity(CHAIN_ID, chain.genesis_hash.hex())


def test_accounts_receipts_and_headers(chain: SmallChain, wallet: Wallets, home: Path) -> None:
    with Client(chain.endpoint, home=home, chain=identity(chain)) as client:
        fresh = Wallet.generate().address
        assert client.proven_account(fresh).value.balance == 0
        sent = client.transfer(wallet("second"), fresh, 12_345)
        found = client.proven_account(fresh)
        assert (found.value.balance, found.value.nonce) == (12_345, 0)
        assert found.height >= (sent.height or 0)
        sender = client.proven_account(wallet("second").address)
        assert (sender.value.balance, sender.value.nonce) == (chain.balance("second"), 1)
        receipt = client.proven_receipt(sent.id)
        assert receipt.value.ok
        assert receipt.value.transaction_id.hex() == sent.id
        assert receipt.height == sent.height
        order = client.proven_transaction(sent.id)
        assert order.value.id.hex() == sent.id
        assert order.value.sender == wallet("second").address
        assert client.proven_events(receipt.height).value == chain.reader().block_events(
            Height(receipt.height)
        )
        with pytest.raises(NotFoundError):
            client.proven_receipt("ab" * 32)
        with pytest.raises(NotFoundError):
            client.proven_transaction("ab" * 32)
        for height in (0, 1, sent.height or 0):
            block = chain.reader().block(Height(height))
            assert block is not None
            assert client.proven_header(height) == block.header


def test_campaigns_and_items(chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path) -> None:
    with Sponsor(wallet("sponsor"), endpoint=chain.endpoint, home=home) as sponsor:
        campaign = sponsor.open(
            title="Texts",
            instructions="Pages.",
            media=["text/plain"],
            unit_price="4",
            review_fee="0.5",
            item_bond="0.2",
            budget="400",
            preset="economy",
        ).campaign
    with Contributor(wallet("contributor"), endpoint=chain.endpoint, home=home) as contributor:
        contributor.upload(campaign, write_texts(tmp_path / "texts", 1))
        chain.until(lambda: bool(contributor.items(campaign)))
        number = contributor.items(campaign)[0].item
    with Client(chain.endpoint, home=home, chain=identity(chain)) as client:
        found = client.proven_campaign(campaign)
        assert found.value.spec.title == "Texts"
        assert found.value.sponsor == wallet("sponsor").address
        item = client.proven_item(number)
        assert item.value.contributor == wallet("contributor").address
        assert item.value.campaign == campaign
        assert item.value.status in set(ItemStatus)
        with pytest.raises(NotFoundError, match="at height"):
            client.proven_item(10**9)
        with pytest.raises(NotFoundError, match="at height"):
            client.proven_campaign(10**9)


def test_a_lying_node_is_found_out(
    chain: SmallChain, wallet: Wallets, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each lie is one change to one answer; every one ends in an error, and never in a value."""
    address = wallet("contributor").address
    other = account_key(wallet("sponsor").address).hex()
    honest = Reads.call

    def lying(method: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        async def call(self: Reads, name: str, /, **params: Any) -> Any:
            answer = await honest(self, name, **params)
            return change(dict(answer)) if name == method else answer

        monkeypatch.setattr(Reads, "call", call)

    with Client(chain.endpoint, home=home, chain=identity(chain)) as client:
        transfer = client.transfer(wallet("second"), address, 1)
        row = client.call("state.row", key=account_key(address).hex())
        richer = encode(msgspec.structs.replace(client.proven_account(address).value, balance=Amount(1)))
        for lie in (
            {"value": None},
            {"value": richer.hex()},
            {"value": "xy"},
            {"page": ""},
            {"page": row["page"][:-2]},
            {"page": row["page"] * 20},
            {"siblings": ["00" * 32]},
            {"siblings": ["00" * 31]},
            {"siblings": ["00" * 32] * 300},
            {"height": 0},  # before the transfer; above it a height may be the true one
            {"height": -1},
            client_row(chain, other),
        ):
            lying("state.row", lambda answer, lie=lie: answer | lie)  # type: ignore[misc] # a lambda's default
            with pytest.raises((ProofError, ResponseError, NotFoundError, RpcError)):
                client.proven_account(address)
        for part, lie in (("leaf", "00"), ("index", 2), ("size", 999), ("path", []), ("height", 0)):
            lying("tx.get", lambda answer, p=part, v=lie: answer | {"proof": answer["proof"] | {p: v}})  # type: ignore[misc] # a lambda's defaults
            with pytest.raises((ProofError, ResponseError)):
                client.proven_receipt(transfer.id)
            lying(
                "chain.block",
                lambda answer, p=part, v=lie: (  # type: ignore[misc] # a lambda's defaults
                    answer | {"proof": None, "history": answer["history"] | {p: v}}
                    if answer.get("history")
                    else answer
                ),
            )
            if part != "leaf":  # the header itself is hashed, not what the node calls its hash
                with pytest.raises((ProofError, ResponseError)):
                    client.proven_header(1)
        lying("chain.block", lambda answer: answer | {"header": answer["header"] | {"state_root": "00" * 32}})
        for ask in (client.proven_header, lambda height: client.proven_account(address)):
            with pytest.raises(ProofError):
                ask(1)
        monkeypatch.setattr(Reads, "call", honest)
        assert client.proven_account(address).value.balance == chain.balance("contributor")


def client_row(chain: SmallChain, other: str) -> dict[str, Any]:
    """Another row's honest proof."""
    value, proof = chain.reader().prove(bytes.fromhex(other))
    assert value is not None
    return {
        "value": value.hex(),
        "page": proof.page.hex(),
        "siblings": [each.hex() for each in proof.siblings],
    }


def test_trust_begins_with_the_hash_of_genesis(
    chain: SmallChain, wallet: Wallets, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(chain.endpoint, home=home) as client, pytest.raises(InputError, match="told which chain"):
        client.proven_account(wallet("second").address)
    honest = Reads.call

    async def other_table(self: Reads, name: str, /, **params: Any) -> Any:
        answer = await honest(self, name, **params)
        return answer | {"validators": answer["validators"][1:]} if name == "chain.validators" else answer

    monkeypatch.setattr(Reads, "call", other_table)
    with (
        Client(chain.endpoint, home=home, chain=identity(chain)) as client,
        pytest.raises(ProofError, match="voters"),
    ):
        client.trusted_point()


def test_a_process_with_only_the_header_checks_a_proof(chain: SmallChain) -> None:
    """Nothing of the node is imported there, and there is no database and no network."""
    program = (
        "import sys\n"
        "from omnitensor.light import ProofError, check_row\n"
        "from omnitensor.protocol.blocks import Header\n"
        "from omnitensor.protocol.codec import decode\n"
        "from omnitensor.protocol.state_proof import StateProof\n"
        "header, key, value, proof = [bytes.fromhex(line) for line in sys.stdin.read().split(',')]\n"
        "args = decode(Header, header), key, value or None, decode(StateProof, proof)\n"
        "assert not {'state', 'consensus', 'plyvel'} & set(sys.modules)\n"
        "try:\n    check_row(*args)\nexcept ProofError:\n    print('refused')\nelse:\n    print('shown')\n"
    )
    reader = chain.reader()
    present, absent = account_key(key("v0").address), account_key(key("nobody").address)
    value, proof = reader.prove(present)
    assert value is not None
    nothing, proof_of_absence = reader.prove(absent)
    assert nothing is None
    header = encode(reader.head.header)
    cases = [
        (present, value, proof, "shown"),
        (absent, b"", proof_of_absence, "shown"),
        (present, b"", proof, "refused"),
        (present, value + b"\0", proof, "refused"),
        (absent, value, proof_of_absence, "refused"),
        (present, value, msgspec.structs.replace(proof, siblings=(Hash(bytes(32)),)), "refused"),
    ]
    for asked, shown, evidence, verdict in cases:
        given = ",".join(part.hex() for part in (header, asked, shown, encode(evidence)))
        done = subprocess.run(
            [sys.executable, "-c", program],
            input=given,
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        assert done.stdout.strip() == verdict, done.stderr
