"""stake.* about delegated stake over a real socket: what is delegated, on its way and owed, pages, proofs, wrong input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omnitensor.light import check_row
from omnitensor.protocol.bodies import Delegate, Redelegate, RewardsClaim, Undelegate
from omnitensor.protocol.codec import decode
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.params import Params
from omnitensor.protocol.rows import Delegation, delegation_key
from omnitensor.protocol.types import NANO, Amount
from tests.rpc.test_proofs import header_at, row
from tests.rpc.world import Client, TestBackend
from tests.state.chain_fixtures import key, make_genesis

QUICK = Params(epoch_blocks=4, evidence_epochs=2, unbonding_blocks=12, reward_base_bps=2_000)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[TestBackend]:
    made = TestBackend(tmp_path, make_genesis(params=QUICK))
    yield made
    made.close()


def text(name: str) -> str:
    return format_address(key(name).address)


def delegate(validator: str, amount: int) -> Delegate:
    return Delegate(key(validator).address, Amount(amount))


def to_height(backend: TestBackend, height: int) -> None:
    while backend.reader().head.height < height:
        backend.commit()


async def test_a_delegators_year(backend: TestBackend, client: Client) -> None:
    backend.commit((key("a0"), delegate("v0", 300 * NANO)), (key("a1"), delegate("v0", 100 * NANO)))
    found = await client.call("stake.delegation", account=text("a0"), validator=text("v0"), proof=True)
    assert (found["amount"], found["joining"], found["rewards"]) == (str(300 * NANO), str(300 * NANO), "0")
    value, proof = row(found["proof"])
    check_row(header_at(backend, 1), delegation_key(key("a0").address, key("v0").address), value, proof)
    assert value is not None
    assert decode(Delegation, value).shares == 300 * NANO
    shown = await client.call("stake.validator", address=text("v0"))
    assert (shown["delegated"], shown["power"]) == (str(400 * NANO), str(100_400 * NANO))
    to_height(backend, 8)
    owed = await client.call("stake.rewards", account=text("a0"))
    assert int(owed["total"]) == int(owed["delegations"][0]["amount"]) > 0
    assert owed["validator"] == "0"
    as_validator = await client.call("stake.rewards", account=text("v0"))
    assert int(as_validator["total"]) == int(as_validator["validator"]) > int(owed["total"])
    apr = await client.call("stake.apr", validator=text("v0"))
    assert (apr["base_bps"], apr["commission_bps"], apr["delegator_min_bps"]) == (2_000, 1_000, 1_800)
    assert apr["active"] == str(100_400 * NANO)
    assert int((await client.call("stake.apr"))["active"]) == 400_400 * NANO
    before = backend.reader().account(key("a0").address).balance
    backend.commit((key("a0"), RewardsClaim((key("v0").address,))))
    receipt = backend.reader().account(key("a0").address)
    assert receipt.balance < before + int(owed["total"]), "the fee was paid"
    assert (await client.call("stake.rewards", account=text("a0")))["total"] == "0"
    backend.commit(
        (key("a0"), Redelegate(key("v0").address, key("v1").address, Amount(100 * NANO))),
        (key("a0"), Undelegate(key("v0").address, None)),
    )
    under_way = (await client.call("stake.redelegations", account=text("a0")))["redelegations"]
    assert [(one["source"], one["target"], one["amount"]) for one in under_way] == [
        (text("v0"), text("v1"), str(100 * NANO))
    ]
    leaving = (await client.call("stake.undelegations", account=text("a0")))["undelegations"]
    assert [(one["validator"], one["amount"], one["due"]) for one in leaving] == [
        (text("v0"), str(200 * NANO), backend.reader().head.height + 12)
    ]
    held = (await client.call("stake.delegations", account=text("a0")))["delegations"]
    assert [(one["validator"], one["under_way"]) for one in held] == [(text("v1"), str(100 * NANO))]
    to_height(backend, backend.reader().head.height + 12)
    assert (await client.call("stake.undelegations", account=text("a0")))["undelegations"] == []
    assert (await client.call("stake.redelegations", account=text("a0")))["redelegations"] == []


async def pages(client: Client, method: str, name: str, **params: Any) -> list[Any]:
    found, cursor = [], None
    for _ in range(9):
        more = {} if cursor is None else {"cursor": cursor}
        page = await client.call(method, limit=2, **params, **more)
        assert len(page[name]) <= 2
        found += page[name]
        cursor = page["next"]
        if cursor is None:
            return found
    raise AssertionError("the pages do not end")


async def test_pages(backend: TestBackend, client: Client) -> None:
    backend.commit(*((key("a0"), delegate(f"v{n}", 10 * NANO)) for n in range(4)))
    backend.commit(*((key(f"a{n}"), delegate("v0", 10 * NANO)) for n in (1, 2)))
    held = await pages(client, "stake.delegations", "delegations", account=text("a0"))
    assert len(held) == 4
    assert len({one["validator"] for one in held}) == 4
    there = await pages(client, "stake.delegators", "delegations", validator=text("v0"))
    assert {one["account"] for one in there} == {text(f"a{n}") for n in range(3)}
    whole = await client.call("stake.delegators", validator=text("v0"), limit=100)
    assert (whole["delegations"], whole["next"]) == (there, None)
    backend.commit(
        *((key("a0"), Redelegate(key("v3").address, key(f"v{n}").address, Amount(NANO))) for n in (0, 1, 1)),
        *((key("a0"), Undelegate(key("v2").address, Amount(NANO))) for _ in range(3)),
    )
    moved = await pages(client, "stake.redelegations", "redelegations", account=text("a0"))
    assert len(moved) == 3
    back = await pages(client, "stake.undelegations", "undelegations", account=text("a0"))
    assert len(back) == 3


async def test_wrong_input(client: Client) -> None:
    assert (await client.fault("stake.delegation", {"account": text("a0"), "validator": text("v0")}))[1] == (
        "not_found"
    )
    assert (await client.fault("stake.apr", {"validator": text("a0")}))[1] == "not_found"
    for method in ("stake.delegations", "stake.undelegations", "stake.redelegations", "stake.rewards"):
        assert (await client.fault(method, {"account": "nobody"}))[0] == -32602
    for method in ("stake.delegations", "stake.undelegations", "stake.redelegations"):
        assert (await client.fault(method, {"account": text("a0"), "cursor": "zz"}))[1] == "cursor"
    assert (await client.call("stake.delegations", account=text("a3")))["delegations"] == []
