"""What reports are made from, over a socket: batches of a campaign, an account's items, a reviewer's record, and their bounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from omnitensor.protocol import limits
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.reviews import encode_report
from omnitensor.protocol.types import NANO
from tests.rpc.test_methods import BAD, CONTRIBUTOR, GOOD, PARAMS, POOR, SPEC, VALIDATORS, Story
from tests.rpc.world import Client, TestBackend
from tests.state.chain_fixtures import make_genesis

NUMBERS = {"campaign": 999}


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[TestBackend]:
    made = TestBackend(tmp_path, make_genesis(params=PARAMS))
    yield made
    made.close()


async def judged(client: Client, backend: TestBackend) -> list[str]:
    """A campaign of two items, one good and one bad, as all three reviewers say; who they are."""
    story = Story(backend)
    story.give_validators_money_for_fees()
    story.open()
    story.contribute()
    batch = await story.wait_for_seats(client)
    seated = [seat["validator"] for seat in batch["seats"]]
    story.commit_reports(seated)
    story.reveal_reports(seated)
    return seated


async def test_batches_of_a_campaign(client: Client, backend: TestBackend) -> None:
    seated = await judged(client, backend)
    Story(backend).open()
    assert await client.call("campaign.batches", campaign=2) == {"batches": [], "next": None}
    (line,) = (await client.call("campaign.batches", campaign="1"))["batches"]
    assert (line["batch"], line["round"], line["phase"], line["outcome"]) == (1, 1, "done", "verdict")
    assert line["seats"] == {"revealed": 3}
    assert line["items"] == [1, 2]
    assert line["members"] is None
    paid = [int((await client.call("account.rewards", address=who))["earned"]["review"]) for who in seated]
    assert int(line["paid"]) == sum(paid) > 0
    campaign = await client.call("campaign.get", campaign=1)
    assert int(campaign["paid_reviewers"]) == sum(paid)
    assert campaign["category_counts"] == [2]
    assert (campaign["admitted"], campaign["rejections_open"]) == (2, 1)
    (line,) = (await client.call("campaign.batches", campaign=1, members=True))["batches"]
    assert [member["validator"] for member in line["members"]] == seated
    assert {member["report"] for member in line["members"]} == {encode_report((GOOD, BAD)).hex()}
    assert [int(member["paid"]) for member in line["members"]] == paid
    assert (await client.call("campaign.batches", campaign=1, since=2))["batches"] == []
    assert await client.fault("campaign.batches", NUMBERS) == (-32001, "not_found")
    assert (await client.fault("campaign.batches", {"campaign": 1, "since": -1}))[0] == -32602
    assert (await client.fault("campaign.batches", {"campaign": 1, "members": "yes"}))[0] == -32602


async def test_items_of_an_account(client: Client, backend: TestBackend) -> None:
    await judged(client, backend)
    address = format_address(CONTRIBUTOR.address)
    found = (await client.call("account.items", address=address))["items"]
    assert [item["item"] for item in found] == [2, 1], "the newest first"
    assert found == [await client.call("item.get", item=number) for number in (2, 1)]
    (good,) = (await client.call("account.items", address=address, status="accepted"))["items"]
    assert good["item"] == 1
    assert (await client.call("account.items", address=address, campaign=1))["items"] == found
    assert (await client.call("account.items", address=format_address(POOR.address)))["items"] == []
    assert await client.fault("account.items", {"address": address, **NUMBERS}) == (-32001, "not_found")
    assert (await client.fault("account.items", {"address": address[:-1]}))[0] == -32602


async def test_record_of_a_reviewer(client: Client, backend: TestBackend) -> None:
    seated = await judged(client, backend)
    (line,) = (await client.call("review.record", validator=seated[0]))["record"]
    assert (line["batch"], line["round"], line["campaign"], line["state"]) == (1, 1, 1, "revealed")
    assert (line["judged"], line["agreed"], line["gold_bits"]) == (2, 2, 0)
    assert int(line["fee"]) == 2 * SPEC.review_fee == 2 * NANO // 10
    assert int(line["paid"]) > 0
    assert line["quality_bps"] > 0
    assert (await client.call("review.record", validator=seated[0], campaign=1))["record"] == [line]
    (absent,) = set(VALIDATORS) - set(seated)
    assert (await client.call("review.record", validator=absent))["record"] == []
    assert await client.fault("review.record", {"validator": absent, **NUMBERS}) == (-32001, "not_found")


async def test_pages_are_bounded_by_the_rows_looked_at(
    client: Client, backend: TestBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "rpc_scan_rows_max", 1)
    seated = await judged(client, backend)
    address = format_address(CONTRIBUTOR.address)
    first = await client.call("account.items", address=address)
    assert len(first["items"]) == 1
    rest = await client.call("account.items", address=address, cursor=first["next"])
    assert [item["item"] for item in (*first["items"], *rest["items"])] == [2, 1]
    assert len((await client.call("campaign.batches", campaign=1))["batches"]) == 1
    assert len((await client.call("review.record", validator=seated[0]))["record"]) == 1
