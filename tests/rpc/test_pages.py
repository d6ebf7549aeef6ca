"""Lists page by page while blocks come in: what was there comes once, pages are bounded, cursors belong to their list."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from omnitensor.protocol import bls, limits
from omnitensor.protocol.bodies import (
    CampaignOpen,
    Delegate,
    SubmissionCommit,
    SubmissionReveal,
    Transfer,
    ValidatorRegister,
)
from omnitensor.protocol.content import content_id_of
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.reviews import items_root, submission_commitment
from omnitensor.protocol.types import NANO, Amount, CampaignId, Hash
from rpc.cursors import seal
from rpc.methods import TABLE
from tests.rpc.test_methods import CONTRIBUTOR, ITEMS, PARAMS, SPEC, SPONSOR
from tests.rpc.world import Client, TestBackend
from tests.state.chain_fixtures import CHAIN_ID, consensus_secret, key, make_genesis

RICH = 10_000_000 * NANO


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[TestBackend]:
    made = TestBackend(tmp_path, make_genesis(params=PARAMS, accounts=12, balance=RICH))
    yield made
    made.close()


class Growth:
    """Blocks, each of which adds to every list."""

    def __init__(self, backend: TestBackend) -> None:
        self.backend = backend
        self.steps = 0
        self.newcomers = iter(range(2, 12))

    def grow(self) -> None:
        self.steps += 1
        item = msgspec.structs.replace(ITEMS[0], content=content_id_of(b"an item %d" % self.steps))
        salt = Hash(self.steps.to_bytes(32, "big"))
        bundle = (item,)
        commitment = submission_commitment(CHAIN_ID, 1, items_root(bundle), CONTRIBUTOR.address, salt)
        orders: list[Any] = [
            (SPONSOR, CampaignOpen(SPEC, Amount(100 * NANO))),
            (SPONSOR, Transfer(CONTRIBUTOR.address, Amount(NANO))),
        ]
        newcomer = next(self.newcomers, None)
        if newcomer is not None:
            secret = consensus_secret(f"a{newcomer}")
            register = ValidatorRegister(
                stake=Amount(100_000 * NANO),
                consensus_key=bls.sk_to_pk(secret),
                proof_of_possession=bls.pop_prove(secret),
                commission_bps=0,
                name=f"a{newcomer}",
            )
            orders.append((key(f"a{newcomer}"), register))
            orders.append((key(f"a{newcomer}"), Delegate(key("v0").address, Amount(100 * NANO))))
        committed = self.backend.commit(*orders)
        assert all(receipt.ok for receipt in committed.result.receipts), committed.result.receipts
        if newcomer is not None:
            delegation = Delegate(key(f"a{newcomer}").address, Amount(100 * NANO))
            committed = self.backend.commit((CONTRIBUTOR, delegation))
            assert all(receipt.ok for receipt in committed.result.receipts), committed.result.receipts
        self.backend.commit((CONTRIBUTOR, SubmissionCommit(CampaignId(1), commitment, 1)))
        self.backend.commit((CONTRIBUTOR, SubmissionReveal(CampaignId(1), commitment, salt, bundle)))


LISTS: list[tuple[str, dict[str, Any], str, tuple[str, ...]]] = [
    ("tx.by_address", {"address": format_address(CONTRIBUTOR.address)}, "transactions", ("id",)),
    ("campaign.list", {}, "campaigns", ("campaign",)),
    ("campaign.list", {"sponsor": format_address(SPONSOR.address)}, "campaigns", ("campaign",)),
    ("campaign.list", {"status": "open"}, "campaigns", ("campaign",)),
    ("item.list", {"campaign": 1}, "items", ("item",)),
    ("item.list", {"campaign": 1, "contributor": format_address(CONTRIBUTOR.address)}, "items", ("item",)),
    ("stake.validators", {}, "validators", ("address",)),
    ("stake.delegators", {"validator": format_address(key("v0").address)}, "delegations", ("account",)),
    (
        "stake.delegations",
        {"account": format_address(CONTRIBUTOR.address)},
        "delegations",
        ("account", "validator"),
    ),
    (
        "review.assignments",
        {"validator": format_address(key("v0").address), "open_only": False},
        "assignments",
        ("batch", "round"),
    ),
    ("campaign.batches", {"campaign": 1}, "batches", ("batch",)),
    ("account.items", {"address": format_address(CONTRIBUTOR.address)}, "items", ("item",)),
    ("review.record", {"validator": format_address(key("v0").address)}, "record", ("batch", "round")),
]


async def walk(
    client: Client, method: str, params: dict[str, Any], rows: str, limit: int, between: Any
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await client.call(method, **params, limit=limit, **({"cursor": cursor} if cursor else {}))
        assert len(page[rows]) <= limit
        found += page[rows]
        cursor = page["next"]
        if cursor is None:
            return found
        assert len(found) < 1_000, "pages without end"
        between()


@pytest.mark.parametrize("seed", range(2))
async def test_what_was_there_comes_once_while_blocks_come_in(
    client: Client, backend: TestBackend, seed: int
) -> None:
    growth, chance = Growth(backend), Random(seed)
    for _ in range(5):
        growth.grow()
    for method, params, rows, names in LISTS:
        before = await walk(client, method, params, rows, limits.rpc_page_max, lambda: None)
        assert len(before) >= 2, (method, params)
        limit = chance.choice([1, 2, 3])
        left = [3]

        def between(left: list[int] = left) -> None:
            if left[0] and chance.random() < 0.5:
                left[0] -= 1
                growth.grow()

        found = await walk(client, method, params, rows, limit, between)
        keys = [tuple(row[name] for name in names) for row in found]
        assert len(keys) == len(set(keys)), (method, params, limit)
        missing = {tuple(row[name] for name in names) for row in before} - set(keys)
        assert not missing, (method, params, limit)


async def test_a_cursor_is_of_its_list_and_filters_and_nothing_else(
    client: Client, backend: TestBackend
) -> None:
    growth = Growth(backend)
    for _ in range(3):
        growth.grow()
    first = await client.call("campaign.list", limit=1)
    cursor = first["next"]
    assert str(first["campaigns"][0]["campaign"] - 1) not in cursor
    assert (await client.call("campaign.list", limit=2, cursor=cursor))["campaigns"]
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("campaign.list", {"status": "open", "cursor": cursor}),
        ("item.list", {"campaign": 1, "cursor": cursor}),
        ("campaign.list", {"cursor": cursor[:-1]}),
        ("campaign.list", {"cursor": cursor + "="}),
        ("campaign.list", {"cursor": cursor + "A"}),
        ("campaign.list", {"cursor": ""}),
        ("campaign.list", {"cursor": "2"}),
        ("campaign.list", {"cursor": "ä"}),
        ("campaign.list", {"cursor": base64.urlsafe_b64encode(b"\xff" * 9).decode()}),
        # A digest keeps nobody from making one up, so lists read what is in it as they read anything.
        ("campaign.list", {"cursor": seal("campaign.list status=None sponsor=None", "-1")}),
        ("campaign.list", {"cursor": seal("campaign.list status=None sponsor=None", str(2**64))}),
    ]
    for place in range(len(cursor)):
        other = "A" if cursor[place] != "A" else "B"
        wrong.append(("campaign.list", {"cursor": cursor[:place] + other + cursor[place + 1 :]}))
    for method, params in wrong:
        answer = await client.ask(method, params)
        assert answer["error"]["code"] == -32602, (method, params, answer)
        assert answer["error"]["data"]["code"] == "cursor", (method, params, answer)
        assert answer["error"]["data"]["remedy"]


def test_every_list_has_a_bounded_page() -> None:
    """Where there is a cursor in, there are a bounded limit and a next."""
    paged = [method for method in TABLE if "cursor" in method.names]
    assert len(paged) >= 6
    for method in paged:
        fields = {field.name: field for field in msgspec.structs.fields(method.params)}
        info = msgspec.inspect.type_info(fields["limit"].type)
        info = info.type if isinstance(info, msgspec.inspect.Metadata) else info
        assert isinstance(info, msgspec.inspect.IntType), method.name
        assert (info.ge, info.le) == (1, limits.rpc_page_max), method.name
        assert "next" in method.result.__struct_fields__, method.name
