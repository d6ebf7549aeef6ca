"""Every method over a real socket, on a chain on which data was contributed, judged and paid by signed transactions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from omnitensor.protocol.bodies import (
    CampaignClose,
    CampaignOpen,
    CampaignSpec,
    Category,
    ItemDeclaration,
    ReportCommit,
    ReportReveal,
    Scope,
    SeatDecline,
    SessionKeyAdd,
    SessionKeyRemove,
    StakeWithdraw,
    SubmissionCommit,
    SubmissionReveal,
    Transfer,
)
from omnitensor.protocol.codec import encode
from omnitensor.protocol.content import content_id_of
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.params import Params
from omnitensor.protocol.reviews import (
    ItemScore,
    encode_report,
    items_root,
    report_commitment,
    submission_commitment,
)
from omnitensor.protocol.types import NANO, SUPPLY_MAX, Amount, BatchId, CampaignId, Hash, Height
from tests.rpc.world import Client, TestBackend
from tests.state.chain_fixtures import CHAIN_ID, START_MS, key, make_genesis, order

SPONSOR, CONTRIBUTOR, POOR = key("a0"), key("a1"), key("poor")
VALIDATORS = {format_address(key(f"v{n}").address): key(f"v{n}") for n in range(4)}
SALT = Hash(b"s" * 32)
PARAMS = Params(
    batch_wait_blocks=1,
    seed_delay_blocks=1,
    seat_accept_blocks=3,
    report_commit_blocks=8,
    report_reveal_blocks=8,
    challenge_blocks=2,
    submission_reveal_blocks=20,
)
SPEC = CampaignSpec(
    title="Stories",
    instructions="Judge what is told.",
    specification=None,
    media=("text/plain",),
    licence="CC0-1.0",
    tier_bps=(10_000,),
    categories=(Category("any", 10_000, 0),),
    unit_price=Amount(5 * NANO),
    review_fee=Amount(NANO // 10),
    item_bond=Amount(NANO // 100),
    criterion_weights=(3_000, 4_000, 3_000),
    thresholds=(60, 60, 60),
    overall_threshold=60,
    first_seats=3,
    second_seats=0,
    agree_min_bps=5_000,
    contributor_share_max_bps=10_000,
    item_bytes_max=1_000_000,
    closes_at=Height(500),
)
TEXTS = (b"a good story", b"a bad one")
ITEMS = tuple(ItemDeclaration(content_id_of(text), "text/plain", 0, 0) for text in TEXTS)
GOOD, BAD = ItemScore(90, 95, 85), ItemScore(10, 5, 20)


class Story:
    """A campaign with one submission of two items, judged by three of four validators."""

    def __init__(self, backend: TestBackend) -> None:
        self.backend = backend
        self.commitment = submission_commitment(CHAIN_ID, 1, items_root(ITEMS), CONTRIBUTOR.address, SALT)

    def open(self) -> None:
        self.backend.commit((SPONSOR, CampaignOpen(SPEC, Amount(100 * NANO))))

    def give_validators_money_for_fees(self) -> None:
        self.backend.commit(
            *((SPONSOR, Transfer(one.address, Amount(10 * NANO))) for one in VALIDATORS.values())
        )

    def contribute(self) -> None:
        campaign = CampaignId(1)
        self.backend.commit((CONTRIBUTOR, SubmissionCommit(campaign, self.commitment, len(ITEMS))))
        self.backend.commit((CONTRIBUTOR, SubmissionReveal(campaign, self.commitment, SALT, ITEMS)))

    async def wait_for_seats(self, client: Client) -> Any:
        for _ in range(8):
            self.backend.commit()
            if self.backend.reader().head.height and (await self.find_batch(client)):
                return await client.call("review.batch", batch=1, round=1)
        raise AssertionError("no seats were drawn")

    async def find_batch(self, client: Client) -> bool:
        answer = await client.ask("review.batch", {"batch": 1, "round": 1})
        return "result" in answer and bool(answer["result"]["seats"])

    def report(self, address: str, salt: Hash) -> tuple[bytes, Hash]:
        report = encode_report((GOOD, BAD))
        return report, report_commitment(CHAIN_ID, BatchId(1), 1, VALIDATORS[address].address, salt, report)

    def commit_reports(self, addresses: list[str]) -> None:
        self.backend.commit(
            *(
                (VALIDATORS[address], ReportCommit(BatchId(1), 1, self.report(address, SALT)[1], b"sealed"))
                for address in addresses
            )
        )

    def reveal_reports(self, addresses: list[str]) -> None:
        self.backend.commit(
            *(
                (VALIDATORS[address], ReportReveal(BatchId(1), 1, SALT, self.report(address, SALT)[0]))
                for address in addresses
            )
        )


@pytest.fixture
def backend(tmp_path: Path) -> AsyncIterator[TestBackend]:
    made = TestBackend(tmp_path, make_genesis(params=PARAMS))
    yield made  # type: ignore[misc]
    made.close()


async def test_data_is_contributed_judged_and_paid(client: Client, backend: TestBackend) -> None:
    """The whole way through, as a client sees it after each step."""
    story = Story(backend)
    supply_before = await client.call("chain.supply")
    story.give_validators_money_for_fees()
    story.open()
    campaign = await client.call("campaign.get", campaign="1")
    assert campaign == await client.call("campaign.get", campaign=1)
    assert campaign["status"] == "open"
    assert campaign["sponsor"] == format_address(SPONSOR.address)
    assert campaign["escrow"] == {
        "available": str(100 * NANO),
        "reward": "0",
        "review": "0",
        "escalation": "0",
    }
    assert campaign["spec"]["unit_price"] == str(5 * NANO)
    assert campaign["spec"]["categories"] == [{"name": "any", "importance_bps": 10_000, "target": 0}]
    assert campaign["counts"]["submitted"] == 0
    assert campaign["opened_at"] == 2

    story.contribute()
    submission = await client.call("submission.get", campaign=1, commitment=story.commitment.hex())
    assert submission["status"] == "revealed"
    assert submission["contributor"] == format_address(CONTRIBUTOR.address)
    items = (await client.call("item.list", campaign=1))["items"]
    assert [item["item"] for item in items] == submission["items"]
    assert [item["content"]["sha256"] for item in items] == [item.content.sha256.hex() for item in ITEMS]
    assert items[0]["submission"] == story.commitment.hex()
    assert {item["status"] for item in items} <= {"revealed", "queued", "in_review"}
    assert await client.fault("review.sealed", [1, 1, format_address(key("v0").address)]) == (
        -32001,
        "not_found",
    )

    batch = await story.wait_for_seats(client)
    assert batch["phase"] == "accept"
    assert batch["instructions"] == SPEC.instructions
    assert [item["item"] for item in batch["items"]] == submission["items"]
    seated = [seat["validator"] for seat in batch["seats"]]
    assert len(seated) == 3
    assert all(seat["state"] == "seated" for seat in batch["seats"])
    await check_seats(client, seated)

    (substitute,) = set(VALIDATORS) - set(seated)
    decliner = seated.pop()
    backend.commit((VALIDATORS[decliner], SeatDecline(BatchId(1), 1)))
    after = await client.call("review.batch", batch=1, round=1)
    assert {seat["validator"]: seat["state"] for seat in after["seats"]}[decliner] == "declined"
    if substitute in {seat["validator"] for seat in after["seats"]}:
        seated.append(substitute)

    story.commit_reports(seated)
    assert (await client.call("review.batch", batch=1, round=1))["phase"] == "reveal"
    sealed = await client.call("review.sealed", batch=1, round=1, validator=seated[0])
    assert sealed == {"commitment": story.report(seated[0], SALT)[1].hex(), "sealed": b"sealed".hex()}
    story.reveal_reports(seated)
    done = await client.call("review.batch", batch=1, round=1)
    assert (done["phase"], done["outcome"]) == ("done", "verdict")
    assert {seat["report"] for seat in done["seats"] if seat["validator"] in seated} == {
        encode_report((GOOD, BAD)).hex()
    }

    good, bad = [await client.call("item.get", item=number) for number in submission["items"]]
    assert good["status"] == "accepted"
    assert good["scores"] == {
        "completeness": 90,
        "accuracy": 95,
        "relevance": 85,
        "overall": good["scores"]["overall"],
    }
    assert int(good["reward"]) > int(good["paid"]) > 0
    assert [step["status"] for step in good["history"]] == ["revealed", "queued", "in_review", "accepted"]
    assert all(
        step["timestamp_ms"] == START_MS + PARAMS.block_interval_ms * step["height"]
        for step in good["history"]
    )
    assert bad["status"] == "rejected"
    assert bad["reasons"]
    assert bad["reward"] is None
    earned = await client.call("account.rewards", address=format_address(CONTRIBUTOR.address))
    assert earned["earned"]["contribution"] == good["paid"]
    assert int(earned["pending"]) == int(good["reward"]) - int(good["paid"])
    assert earned["items"] == {"submitted": 2, "accepted": 1, "rejected": 1, "undecided": 0}

    for _ in range(4):
        backend.commit()
    paid = await client.call("item.get", item=submission["items"][0])
    assert paid["status"] == "paid"
    assert paid["paid"] == paid["reward"]
    reviewer = await client.call("account.rewards", address=seated[0])
    assert int(reviewer["earned"]["review"]) > 0
    assert {one["kind"] for one in reviewer["recent"]} >= {"review"}
    everything = await client.call("review.assignments", validator=seated[0], open_only=False)
    assert [(one["state"], one["phase"]) for one in everything["assignments"]] == [("revealed", "done")]
    assert (await client.call("review.assignments", validator=seated[0]))["assignments"] == []

    backend.commit((SPONSOR, CampaignClose(CampaignId(1))))
    closed = await client.call("campaign.get", campaign=1)
    assert closed["status"] == "closed"
    assert closed["escrow"]["available"] == "0"
    assert closed["counts"]["paid"] == 1
    supply = await client.call("chain.supply")
    assert supply["total"] == supply["genesis"] == supply_before["total"] == str(SUPPLY_MAX)
    parts = [supply["accounts"], supply["burned"], *supply["modules"].values()]
    assert sum(map(int, parts)) == SUPPLY_MAX


async def check_seats(client: Client, seated: list[str]) -> None:
    for address in VALIDATORS:
        found = (await client.call("review.assignments", validator=address))["assignments"]
        assert len(found) == (address in seated)
        for seat in found:
            assert (seat["batch"], seat["round"], seat["campaign"]) == (1, 1, 1)
            assert (seat["state"], seat["phase"], seat["items"]) == ("seated", "accept", 2)
            assert seat["fee"] == str(2 * SPEC.review_fee)
            assert seat["bond"] == str(4 * SPEC.review_fee)
            info = await client.call("stake.validator", address=address)
            assert info["held"] == seat["bond"]
            assert info["seats_open"] == 1


async def test_lists_page_by_page(client: Client, backend: TestBackend) -> None:
    story = Story(backend)
    for _ in range(5):
        story.open()
    found, cursor = [], None
    while True:
        page = await client.call("campaign.list", limit=2, **({"cursor": cursor} if cursor else {}))
        found += [one["campaign"] for one in page["campaigns"]]
        cursor = page["next"]
        if cursor is None:
            break
        assert len(page["campaigns"]) == 2
    assert found == [5, 4, 3, 2, 1]
    mine = await client.call("campaign.list", sponsor=format_address(SPONSOR.address))
    assert len(mine["campaigns"]) == 5
    nobodys = await client.call("campaign.list", sponsor=format_address(POOR.address))
    assert nobodys == {"campaigns": [], "next": None}
    backend.commit((SPONSOR, CampaignClose(CampaignId(3))))
    closed = await client.call("campaign.list", status="closed")
    assert [one["campaign"] for one in closed["campaigns"]] == [3]
    story.contribute()
    first = await client.call("item.list", campaign=1, limit=1)
    second = await client.call("item.list", campaign=1, limit=1, cursor=first["next"])
    assert second["next"] is None
    both = (await client.call("item.list", campaign=1, contributor=format_address(CONTRIBUTOR.address)))[
        "items"
    ]
    assert [one["item"] for one in both] == [first["items"][0]["item"], second["items"][0]["item"]]
    assert (await client.call("item.list", campaign=1, status="paid"))["items"] == []
    assert (await client.call("item.list", campaign=2))["items"] == []
    assert (await client.call("item.list", campaign=1, contributor=format_address(POOR.address)))[
        "items"
    ] == []


async def test_long_lists_with_a_filter_are_looked_through_in_parts(
    client: Client, backend: TestBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omnitensor.protocol import limits

    monkeypatch.setattr(limits, "rpc_scan_rows_max", 3)
    story = Story(backend)
    for _ in range(7):
        story.open()
    page = await client.call("campaign.list", status="closed")
    assert page["campaigns"] == []
    page = await client.call("campaign.list", status="closed", cursor=page["next"])
    assert page["campaigns"] == []
    assert await client.call("campaign.list", status="closed", cursor=page["next"]) == {
        "campaigns": [],
        "next": None,
    }


async def test_chain_methods(client: Client, backend: TestBackend) -> None:
    committed = [backend.commit((SPONSOR, Transfer(POOR.address, Amount(7)))) for _ in range(5)]
    status = await client.call("chain.status")
    head = committed[-1].block
    assert status == {
        "chain_id": CHAIN_ID,
        "genesis_hash": backend.genesis_hash.hex(),
        "height": 5,
        "block_hash": head.hash.hex(),
        "timestamp_ms": head.header.timestamp_ms,
        "epoch": 0,
        "base_fee": backend.reader().next_base_fee,
        "first_block": 0,
        "syncing": False,
        "sync_target": 5,
        "block_interval_ms": PARAMS.block_interval_ms,
        "version": "0.1.0",
    }
    backend.not_ready("behind")
    status = await client.call("chain.status")
    assert (status["syncing"], status["sync_target"]) == (True, 99)
    params = await client.call("chain.params")
    assert params["validator_stake_min"] == str(32_000 * NANO)
    assert params["reputation_decay"] == [7, 8]
    assert set(params) == set(Params.__struct_fields__)
    assert encode(Params(*[_plain(params[name]) for name in Params.__struct_fields__])) == encode(PARAMS)
    by_head = await client.call("chain.block")
    assert (
        by_head
        == await client.call("chain.block", height=5)
        == await client.call("chain.block", hash=head.hash.hex())
    )
    assert by_head["header"]["hash"] == head.hash.hex()
    assert by_head["header"]["parent"] == committed[-2].block.hash.hex()
    assert by_head["header"]["proposer"] == format_address(key("v0").address)
    assert by_head["transactions"] == [
        {"id": head.transactions[0].id.hex(), "kind": "transfer", "sender": format_address(SPONSOR.address)}
    ]
    assert by_head["proof"] is None
    assert await client.fault("chain.block", {"height": 6}) == (-32001, "not_found")
    assert await client.fault("chain.block", {"height": 2**62}) == (-32001, "not_found")
    assert await client.fault("chain.block", {"hash": "00" * 32}) == (-32001, "not_found")
    page = await client.call("chain.blocks", limit=4)
    assert [one["height"] for one in page["blocks"]] == [5, 4, 3, 2]
    page = await client.call("chain.blocks", before=page["next"], limit=4)
    assert [one["height"] for one in page["blocks"]] == [1, 0]
    assert page["next"] is None
    assert (await client.call("chain.blocks", before=0))["blocks"] == []
    voters = await client.call("chain.validators")
    assert voters["epoch"] == 0
    assert sorted(one["address"] for one in voters["validators"]) == sorted(VALIDATORS)
    assert {one["weight"] for one in voters["validators"]} == {100_000}
    assert {len(one["consensus_key"]) for one in voters["validators"]} == {96}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return int(value)
    return tuple(value) if isinstance(value, list) else value


async def test_transactions(client: Client, backend: TestBackend) -> None:
    prepared = order(SPONSOR, 0, Transfer(POOR.address, Amount(5)), tip=3)
    tx = prepared.encoded.hex()
    assert await client.call("tx.get", id=prepared.id.hex()) == {"id": prepared.id.hex(), "status": "unknown"}
    assert await client.call("tx.submit", tx=tx) == {"id": prepared.id.hex()}
    assert await client.call("tx.submit", tx=tx) == {"id": prepared.id.hex()}
    pending = await client.call("tx.get", id=prepared.id.hex())
    assert pending["status"] == "pending"
    assert pending["body"] == {"kind": "transfer", "to": format_address(POOR.address), "amount": "5"}
    assert "receipt" not in pending
    assert (await client.call("account.get", address=format_address(SPONSOR.address)))["next_nonce"] == 1
    backend.commit()
    final = await client.call("tx.get", id=prepared.id.hex())
    assert (final["status"], final["height"], final["index"]) == ("final", 1, 0)
    assert final["receipt"]["code"] == "ok"
    assert final["receipt"]["tip"] == "3"
    assert int(final["receipt"]["fee"]) > 0
    assert await client.call("tx.submit", tx=tx) == {"id": prepared.id.hex()}

    backend.commit((SPONSOR, Transfer(POOR.address, Amount(SUPPLY_MAX))))
    lines, cursor = [], None
    while True:
        page = await client.call(
            "tx.by_address",
            address=format_address(SPONSOR.address),
            limit=1,
            **({"cursor": cursor} if cursor else {}),
        )
        lines += page["transactions"]
        cursor = page["next"]
        if cursor is None:
            break
    assert [(line["height"], line["code"]) for line in lines] == [(2, "balance"), (1, "ok")]
    assert lines[1]["id"] == prepared.id.hex()
    failed = await client.call("tx.get", id=lines[0]["id"])
    assert failed["receipt"]["code"] == "balance"
    assert failed["receipt"]["reason"]
    to_poor = await client.call("tx.by_address", address=format_address(POOR.address))
    assert prepared.id.hex() in [line["id"] for line in to_poor["transactions"]]


async def test_refused_transactions(client: Client, backend: TestBackend) -> None:
    backend.commit((SPONSOR, Transfer(POOR.address, Amount(5))))
    body = Transfer(POOR.address, Amount(5))
    good = order(SPONSOR, 1, body)
    forged = bytearray(good.encoded)
    forged[-1] ^= 1
    cases = [
        (order(SPONSOR, 0, Transfer(POOR.address, Amount(6))).encoded, -32002),
        (order(SPONSOR, 1, body, chain_id="other-chain").encoded, -32002),
        (order(SPONSOR, 1, body, valid_until=1).encoded, -32002),
        (order(SPONSOR, 1, body, max_fee=1).encoded, -32002),
        (order(POOR, 0, body).encoded, -32002),
        (order(SPONSOR, 1, body, signer=key("a2")).encoded, -32002),
        (bytes(forged), -32004),
        (good.encoded + b"\x00", -32002),
        (good.encoded[:-1], -32002),
        (b"\xc1", -32002),
    ]
    for encoded, number in cases:
        answer = await client.ask("tx.submit", {"tx": encoded.hex()})
        assert answer["error"]["code"] == number, answer
        assert answer["error"]["data"]["reason"]
    assert len(backend.mempool) == 0
    await client.call("tx.submit", tx=good.encoded.hex())


async def test_accounts_and_validators(client: Client, backend: TestBackend) -> None:
    session = key("session")
    backend.commit(
        (SPONSOR, SessionKeyAdd(session.public, int(Scope.REVIEW | Scope.UPLOAD), Height(50), Amount(10**12)))
    )
    shown = await client.call("account.get", address=format_address(SPONSOR.address))
    assert shown["session_keys"] == [
        {
            "key": session.public.hex(),
            "scopes": ["review", "upload"],
            "valid_until": 50,
            "allowance": str(10**12),
        }
    ]
    assert (shown["nonce"], shown["next_nonce"], shown["stake"]) == (1, 1, "0")
    assert int(shown["balance"]) < 1_000 * NANO
    assert await client.call("account.session", key=session.public.hex()) == {
        "owner": format_address(SPONSOR.address),
        "scopes": ["review", "upload"],
        "valid_until": 50,
        "allowance": str(10**12),
    }
    assert await client.fault("account.session", {"key": "00" * 32}) == (-32001, "not_found")
    backend.commit((SPONSOR, SessionKeyRemove(session.public)))
    assert await client.fault("account.session", {"key": session.public.hex()}) == (-32001, "not_found")
    empty = await client.call("account.get", address=format_address(POOR.address))
    assert (empty["balance"], empty["nonce"], empty["session_keys"]) == ("0", 0, [])
    nothing = await client.call("account.rewards", address=format_address(POOR.address))
    assert set(nothing["earned"].values()) == {"0"}
    assert set(nothing["earned"]) == {"contribution", "review", "participation", "prizes"}
    assert nothing["recent"] == []
    validator = key("v0")
    backend.commit((SPONSOR, Transfer(validator.address, Amount(NANO))))
    backend.commit((validator, StakeWithdraw(Amount(10 * NANO))))
    info = await client.call("stake.validator", address=format_address(validator.address))
    assert info["name"] == "v0"
    assert info["stake"] == str(99_990 * NANO)
    assert info["unbonding"] == [{"amount": str(10 * NANO), "height": 4 + PARAMS.unbonding_blocks}]
    assert (info["jailed"], info["commission_bps"], info["reputation"]) == (False, 1_000, 2_500)
    assert (await client.call("account.get", address=format_address(validator.address)))["stake"] == info[
        "stake"
    ]
    assert await client.fault("stake.validator", {"address": format_address(POOR.address)}) == (
        -32001,
        "not_found",
    )
    first = await client.call("stake.validators", limit=3)
    rest = await client.call("stake.validators", cursor=first["next"])
    assert sorted(one["address"] for one in first["validators"] + rest["validators"]) == sorted(VALIDATORS)
    assert info in first["validators"] + rest["validators"]
