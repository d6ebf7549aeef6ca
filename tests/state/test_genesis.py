"""Genesis: what it makes, and everything that its reader refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import NANO, SUPPLY_MAX
from state.genesis import Genesis, GenesisError, GenesisRecord
from state.ledger.supply import check_everything, totals
from state.ledger.vaults import vault_address
from state.local_genesis import local_genesis
from state.schema import ACCOUNTS, VAULTS
from tests.state.chain_fixtures import key, make_genesis

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = json.loads(make_genesis().to_json())
Edit = Callable[[dict[str, Any]], object]


def edited(edit: Edit) -> str:
    document = json.loads(json.dumps(DOCUMENT))
    edit(document)
    return json.dumps(document)


LOCKED: dict[str, object] = {
    "holder": format_address(key("a9").address),
    "amount": "5000",
    "start_ms": 1_000,
    "cliff_ms": 2_000,
    "end_ms": 5_000,
}
VAULT_TEXT = format_address(vault_address(0))


def test_locked_money_is_in_vaults_from_the_beginning() -> None:
    later = LOCKED | {"amount": "7", "end_ms": 6_000}
    genesis = Genesis.from_json(edited(lambda d: d.update(locked=[LOCKED, later]) or d.pop("reserve")))
    assert Genesis.from_json(genesis.to_json()) == genesis
    assert Genesis.from_record(decode(GenesisRecord, encode(genesis.record()))) == genesis
    check_everything(genesis.rows)
    vaults = {bytes(key): row for key, row in genesis.rows.scan(VAULTS)}
    assert {row.total for row in vaults.values()} == {5_000, 7}
    assert {row.holder for row in vaults.values()} == {key("a9").address}
    for address, row in vaults.items():
        held = genesis.rows.get(ACCOUNTS, address)
        assert held is not None
        assert held.balance == row.total
    assert genesis.reserve == Genesis.from_json(json.dumps(DOCUMENT)).reserve - 5_007


def test_file_at_the_top_is_the_local_genesis() -> None:
    text = (ROOT / "genesis.json").read_text(encoding="utf-8")
    genesis = Genesis.load(ROOT / "genesis.json")
    assert text == local_genesis().to_json(), "write it anew: python -m state.local_genesis > genesis.json"
    assert genesis == local_genesis()
    assert genesis.chain_id == "omnitensor-local"
    assert genesis.params.block_interval_ms == 500
    assert genesis.params.first_campaign_id == 1234
    assert len(genesis.table) == 4


def test_genesis_holds_the_whole_supply() -> None:
    genesis = make_genesis(accounts=3)
    held = totals(genesis.rows)
    assert sum(held.values()) == SUPPLY_MAX
    assert genesis.reserve == SUPPLY_MAX - 3 * 1_000 * NANO - 4 * 100_000 * NANO
    check_everything(genesis.rows)


def test_round_trips() -> None:
    genesis = make_genesis(params=Params(batch_items=7, reputation_decay=(3, 4)))
    assert Genesis.from_json(genesis.to_json()) == genesis
    assert Genesis.from_record(decode(GenesisRecord, encode(genesis.record()))) == genesis


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d.update(chain_id="other"),
        lambda d: d.update(time_ms=d["time_ms"] + 1),
        lambda d: d["params"].update(batch_items=3),
        lambda d: d["accounts"][0].update(balance="1") or d.pop("reserve"),
        lambda d: d["validators"].pop() and d.pop("reserve"),
        lambda d: d["validators"][0].update(name="renamed"),
        lambda d: d["validators"][0].update(commission_bps=1),
        lambda d: d.update(locked=[LOCKED]) or d.pop("reserve"),
    ],
)
def test_hash_binds_every_part(edit: Edit) -> None:
    assert Genesis.from_json(edited(edit)).hash != Genesis.from_json(json.dumps(DOCUMENT)).hash


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda d: d.pop("chain_id"), "chain_id"),
        (lambda d: d.update(extra=1), "extra"),
        (lambda d: d["accounts"][0].update(extra=1), "extra"),
        (lambda d: d.update(chain_id=""), "chain_id"),
        (lambda d: d.update(chain_id="a b"), "a b"),
        (lambda d: d.update(chain_id="x" * 33), "chain_id"),
        (lambda d: d.update(time_ms=-1), "time_ms"),
        (lambda d: d.update(time_ms="1"), "time_ms"),
        (lambda d: d.update(time_ms=1.5), "1.5"),
        (lambda d: d.update(time_ms=True), "time_ms"),
        (lambda d: d["params"].update(nonsense=1), "nonsense"),
        (lambda d: d["params"].update(batch_items=0), "batch_items"),
        (lambda d: d["params"].update(batch_items=10**6), "batch_items"),
        (lambda d: d["params"].update(batch_items="20"), "batch_items"),
        (lambda d: d["params"].update(reputation_decay=[8, 8]), "reputation_decay"),
        (lambda d: d["params"].update(block_weight_target=10**7), "block_weight_target"),
        (lambda d: d["params"].update(base_fee_change_bps=1251), "base_fee_change_bps"),
        (lambda d: d["accounts"][0].update(balance=5), "balance"),
        (lambda d: d["accounts"][0].update(balance="05"), "05"),
        (lambda d: d["accounts"][0].update(balance="-5"), "-5"),
        (lambda d: d["accounts"][0].update(balance="5e3"), "5e3"),
        (lambda d: d["accounts"][0].update(balance="٣"), "٣"),
        (lambda d: d["accounts"][0].update(balance=str(SUPPLY_MAX + 1)), str(SUPPLY_MAX + 1)),
        (lambda d: d["accounts"][0].update(balance=str(SUPPLY_MAX)), "1,000,"),
        (lambda d: d["accounts"][0].update(address="omnit1nonsense"), "omnit1nonsense"),
        (lambda d: d["accounts"].append(d["accounts"][0]) or d.pop("reserve"), "twice"),
        (lambda d: d.update(reserve="1"), "reserve"),
        (lambda d: d["validators"].clear() or d.pop("reserve"), "validator"),
        (lambda d: d["validators"].append(d["validators"][0]), "reserve"),
        (lambda d: d["validators"].append(d["validators"][0]) or d.pop("reserve"), "once"),
        (lambda d: d["validators"][0].update(stake="1000000000") or d.pop("reserve"), "v0"),
        (lambda d: d["validators"][0].update(consensus_key="00" * 48), "possession"),
        (lambda d: d["validators"][0].update(consensus_key="zz"), "zz"),
        (
            lambda d: d["validators"][0].update(
                proof_of_possession=d["validators"][1]["proof_of_possession"]
            ),
            "possession",
        ),
        (lambda d: d["validators"][0].update(commission_bps=10_001), "commission_bps"),
        (lambda d: d.update(locked=[LOCKED | {"amount": "0"}]) or d.pop("reserve"), "nothing"),
        (lambda d: d.update(locked=[LOCKED | {"amount": str(SUPPLY_MAX)}]) or d.pop("reserve"), "supply"),
        (lambda d: d.update(locked=[LOCKED]), "reserve"),
        (lambda d: d.update(locked=[LOCKED | {"cliff_ms": 9_000}]) or d.pop("reserve"), "in order"),
        (lambda d: d.update(locked=[LOCKED | {"end_ms": 1_000}]) or d.pop("reserve"), "in order"),
        (lambda d: d.update(locked=[LOCKED | {"end_ms": -1}]) or d.pop("reserve"), "end_ms"),
        (lambda d: d.update(locked=[LOCKED | {"holder": VAULT_TEXT}]) or d.pop("reserve"), VAULT_TEXT),
        (lambda d: d["accounts"][0].update(address=VAULT_TEXT), VAULT_TEXT),
    ],
)
def test_refuses_naming_what_is_wrong(edit: Edit, says: str) -> None:
    with pytest.raises(ProtocolError) as refusal:
        Genesis.from_json(edited(edit))
    assert says in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        "[" * 100_000,
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": 1.0}',
        '{"a": 1e3}',
        json.dumps(DOCUMENT).replace('"chain_id"', '"chain_id": "x", "chain_id"', 1),
        json.dumps(DOCUMENT).replace('"balance"', '"balance": "1", "balance"', 1),
        "\ufeff" + json.dumps(DOCUMENT),
    ],
)
def test_refuses_what_is_no_strict_json(text: str) -> None:
    with pytest.raises(GenesisError):
        Genesis.from_json(text)


@given(st.binary(max_size=60))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Genesis.from_json(data)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (
            lambda d: d["params"].update(block_intervall_ms=1),
            "no such parameter: block_intervall_ms (write block_interval_ms",
        ),
        (lambda d: d["params"].update(delta_ms="1"), "delta_ms"),
        (lambda d: d.update(chain_id="a b"), "letters, digits and dashes: a b"),
        (lambda d: d.update(extra=1), "extra"),
    ],
)
def test_what_a_file_has_wrong_is_refused_naming_the_file(edit: Edit, says: str, tmp_path: Path) -> None:
    path = tmp_path / "that-genesis.json"
    path.write_text(edited(edit))
    with pytest.raises(GenesisError) as refusal:
        Genesis.load(path)
    assert str(path) in str(refusal.value)
    assert says in str(refusal.value)


def test_missing_and_oversized_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GenesisError, match="can't be read"):
        Genesis.load(tmp_path / "absent.json")
    big = tmp_path / "big.json"
    big.write_bytes(b" " * (5 * 1024 * 1024))
    with pytest.raises(GenesisError, match="too large"):
        Genesis.load(big)


def test_an_account_may_also_be_a_validator() -> None:
    document = json.loads(json.dumps(DOCUMENT))
    document["accounts"].append({"address": document["validators"][0]["address"], "balance": "7"})
    document.pop("reserve")
    genesis = Genesis.from_json(json.dumps(document))
    assert genesis.accounts[-1].address == key("v0").address
    check_everything(genesis.rows)
