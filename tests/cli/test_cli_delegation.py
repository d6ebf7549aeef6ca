"""Delegating by typing: staked, moved, claimed, taken back, and every wrong input refused; the same by the SDK, with proofs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from omnitensor.protocol.keys import format_address
from omnitensor.protocol.types import NANO
from omnitensor.sdk import ChainIdentity, Client, InputError, RefusedError, Wallet
from tests.cli.people import Person
from tests.sdk.small_chain import CHAIN_ID, FAST, SmallChain
from tests.state.chain_fixtures import key

pytestmark = pytest.mark.xdist_group("cli-delegation")

QUICK = replace(FAST, epoch_blocks=10, evidence_epochs=40, unbonding_blocks=410, reward_base_bps=2_000)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallChain]:
    started = SmallChain(tmp_path_factory.mktemp("chain"), QUICK)
    yield started
    started.stop()


def text(name: str) -> str:
    return format_address(key(name).address)


def test_a_delegator(chain: SmallChain, tmp_path: Path) -> None:
    ann = Person(tmp_path / "ann", chain.endpoint).log_in("sponsor")
    assert "delegates nothing" in ann.must("stake", "status").out
    offered = ann.must("validator", "list", "--json").json["validators"]
    assert {each["address"] for each in offered} == {text(f"v{n}") for n in range(4)}
    assert offered[0]["power"] == "100000"
    apr = ann.must("stake", "apr", "--validator", text("v0"), "--json").json
    assert (apr["base_bps"], apr["delegator_max_bps"]) == (2_000, 2_200 * 9 // 10)
    assert "reserve" in ann.must("stake", "apr").out
    done = ann.must("stake", "delegate", "--validator", text("v0"), "--amount", "500", "--json").json
    assert done["receipt"]["code"] == "ok"
    ann.must("stake", "redelegate", "--from", text("v0"), "--to", text("v1"), "--amount", "100")
    chain.wait_blocks(25)
    status = ann.must("stake", "status", "--json").json
    assert [each["amount"] for each in status["delegations"] if each["validator"] == text("v0")] == ["400"]
    assert [each["amount"] for each in status["redelegations"]] == ["100"]
    assert float(status["rewards"]) > 0
    claimed = ann.must("stake", "claim", "--json").json
    assert float(claimed["claimed"]) >= float(status["rewards"])
    assert len(claimed["transactions"]) == 1
    assert "on its way back" in ann.must("stake", "undelegate", "--validator", text("v0"), "--all").out
    shown = ann.must("stake", "status").out
    assert "comes back from" in shown
    assert text("v1") in shown


def test_a_validator_sees_and_claims_its_own(chain: SmallChain, tmp_path: Path) -> None:
    val = Person(tmp_path / "val", chain.endpoint).log_in("v2")
    chain.wait_blocks(12)
    shown = val.must("stake", "show", "--json").json
    assert (shown["delegated"], float(shown["rewards"]) > 0) == ("0", True)
    assert "may rise from height" in val.must("stake", "show").out
    assert float(val.must("stake", "claim", "--json").json["claimed"]) > 0
    said = val.type("validator", "edit", "--commission", "1150", "--json")
    assert (said.code, said.json["error"]["code"]) == (1, "commission_step")
    val.must("validator", "edit", "--commission", "900")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("delegate", "--validator", "nobody", "--amount", "1"), "address"),
        (("delegate", "--validator", text("v0"), "--amount", "one"), "not an amount"),
        (("delegate", "--validator", text("second"), "--amount", "1"), "no such validator"),
        (("delegate", "--validator", text("v0"), "--amount", "0.5"), "at least"),
        (("undelegate", "--validator", text("v0")), "--all"),
        (("undelegate", "--validator", text("v0"), "--amount", "1", "--all"), "--all"),
        (("undelegate", "--validator", text("v0"), "--all"), "delegates nothing"),
        (("redelegate", "--from", text("v0"), "--to", text("v0"), "--all"), "one validator"),
        (("claim",), "no rewards"),
        (("claim", "--validator", text("v0")), "delegates nothing"),
        (("status", "--wallet", "nobody"), "address"),
    ],
)
def test_wrong_input(chain: SmallChain, tmp_path: Path, arguments: tuple[str, ...], complaint: str) -> None:
    nobody = Person(tmp_path / "nobody", chain.endpoint).log_in("second")
    said = nobody.type("stake", *arguments)
    assert said.code != 0
    assert complaint in said.err


def test_by_the_sdk(chain: SmallChain) -> None:
    wallet = Wallet(key("contributor"), key("contributor").address)
    identity = ChainIdentity(CHAIN_ID, chain.genesis_hash.hex())
    with Client(chain.endpoint, chain=identity) as client:
        client.delegate(wallet, text("v3"), 50 * NANO)
        assert client.delegation(wallet.address, text("v3")).amount == 50 * NANO
        proven = client.proven_delegation(wallet.address, text("v3"))
        assert proven.value is not None
        assert proven.value.shares == 50 * NANO
        assert client.proven_delegation(wallet.address, text("v2")).value is None
        assert [each.account for each in client.delegators(text("v3"))] == [wallet.text]
        client.redelegate(wallet, text("v3"), text("v2"), 10 * NANO)
        assert [each.amount for each in client.redelegations(wallet.address)] == [10 * NANO]
        client.undelegate(wallet, text("v3"))
        assert [each.amount for each in client.undelegations(wallet.address)] == [40 * NANO]
        with pytest.raises(RefusedError, match="under way"):
            client.redelegate(wallet, text("v2"), text("v1"))
        chain.wait_blocks(25)
        assert client.stake_rewards(wallet.address).total > 0
        assert len(client.claim_rewards(wallet)) == 1
        with pytest.raises(InputError, match="no rewards"):
            client.claim_rewards(wallet, [])
        assert client.apr().active > 0
