"""chain verify, account and tx: for people and for programs, from a login, a checkpoint or neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnitensor.protocol.keys import format_address
from tests.cli.people import Person
from tests.sdk.small_chain import CHAIN_ID, SmallChain
from tests.state.chain_fixtures import key

pytestmark = pytest.mark.xdist_group("cli-chain")


def test_verify_and_what_is_proven(chain: SmallChain, tmp_path: Path) -> None:
    sender = Person(tmp_path / "second", chain.endpoint).log_in("second")
    sent = sender.must(
        "transfer", "--to", format_address(key("nobody").address), "--amount", "12.5", "--json"
    ).json
    verified = sender.must("chain", "verify", "--json").json
    assert verified["chain_id"] == CHAIN_ID
    assert verified["height"] >= sent["height"]
    assert (verified["epoch"], verified["validators"]) == (0, 4)
    assert verified["checkpoint"] == f"0:{chain.genesis_hash.hex()}"
    shown = sender.must("chain", "verify").out
    for name in ("verified height", "epoch", verified["checkpoint"]):
        assert name in shown
    found = sender.must("chain", "account", format_address(key("nobody").address), "--json").json
    assert (found["balance"], found["nonce"]) == ("12.5", 0)
    own = sender.must("chain", "account", "--json").json
    assert (own["address"], own["nonce"]) == (format_address(key("second").address), 1)
    assert "12.5 OMNIT" in sender.must("chain", "account", format_address(key("nobody").address)).out
    receipt = sender.must("chain", "tx", sent["id"], "--json").json
    events = sender.must("chain", "events", str(sent["height"]), "--json").json
    assert events["height"] == sent["height"]
    assert events["events"] == []
    assert "events" in sender.must("chain", "events", str(sent["height"])).out
    assert (receipt["id"], receipt["code"], receipt["height"]) == (sent["id"], "ok", sent["height"])
    assert f"{sent['height']}, " in sender.must("chain", "tx", sent["id"]).out


def test_a_checkpoint_stands_in_for_a_login(chain: SmallChain, tmp_path: Path) -> None:
    stranger = Person(tmp_path / "stranger", chain.endpoint)
    said = stranger.type("chain", "verify")
    assert said.code == 2
    assert "checkpoint" in said.err
    first = Person(tmp_path / "first", chain.endpoint).log_in("second")
    proven = first.must("chain", "account", "--json").json["proven_at"]
    told = stranger.must("status", "--json").json["checkpoint"]
    assert stranger.must("chain", "verify", "--checkpoint", told, "--json").json["height"] >= int(
        told.split(":")[0]
    )
    by_option = stranger.must("chain", "verify", "--checkpoint", proven, "--json").json
    stranger.variables["OMNITENSOR_CHECKPOINT"] = proven
    by_variable = stranger.must("chain", "verify", "--json").json
    assert by_variable["height"] >= by_option["height"] >= int(proven.split(":")[0])


def test_what_can_not_be_verified_ends_in_one_line(chain: SmallChain, tmp_path: Path) -> None:
    who = Person(tmp_path / "second", chain.endpoint).log_in("second")
    genesis = chain.genesis_hash.hex()
    for arguments, code, word in (
        (("--checkpoint", "12"), 2, "checkpoint"),
        (("--checkpoint", f"1:{genesis}"), 1, "proof"),
        (("--checkpoint", "0:" + "ab" * 32), 1, "chain"),
        (("--trust-days", "0.0001"), 1, "trust"),
    ):
        said = who.type("chain", "verify", *arguments, "--json")
        assert (said.code, said.json["error"]["code"]) == (code, word)
        assert said.json["error"]["remedy"]
        assert len(who.type("chain", "verify", *arguments).err.splitlines()) == 1
    assert who.type("chain", "verify", "--trust-days", "0").code == 2
