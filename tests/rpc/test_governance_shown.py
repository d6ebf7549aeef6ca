"""governance.* over a socket: proposals, votes and counts, parameters with bounds and origin, upgrades, and wrong questions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from omnitensor.protocol.bodies import (
    BodyBase,
    ParameterChange,
    ParameterChanges,
    ProposalDeposit,
    ProposalSubmit,
    ProposalVote,
    SoftwareUpgrade,
    TextOnly,
    Transfer,
    VoteOption,
)
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.params import SPECS, Params
from omnitensor.protocol.types import NANO, Amount, Height, ParameterNumber, ProposalId
from rpc.server import RpcServer
from tests.rpc.world import Client, TestBackend, serve
from tests.state.chain_fixtures import key, make_genesis

QUICK = Params(
    proposal_deposit_min=Amount(8 * NANO),
    proposal_deposit_blocks=50,
    proposal_voting_blocks=4,
    proposal_timelock_blocks=2,
)
STAKE = 100_000 * NANO
PROPOSER = key("a0")
VOTERS = ("v0", "v1", "v2")
CHANGES = ParameterChanges(
    (
        ParameterChange("base_fee_min", ParameterNumber(5)),
        ParameterChange("reputation_decay", ParameterNumber(3), 4),
        ParameterChange("delta_ms", ParameterNumber(900)),
    )
)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[TestBackend]:
    made = TestBackend(tmp_path, make_genesis(params=QUICK))
    for name in VOTERS:
        made.commit((PROPOSER, Transfer(key(name).address, Amount(10 * NANO))))
    yield made
    made.close()


@pytest.fixture
async def client(backend: TestBackend, called: set[str]) -> AsyncIterator[Client]:
    server: RpcServer = await serve(backend)
    made = Client(server, called)
    yield made
    await made.close()
    await server.stop()


def do(backend: TestBackend, name: str, body: BodyBase) -> None:
    receipt = backend.commit((key(name), body)).result.receipts[-1]
    assert receipt.ok, receipt


def propose(backend: TestBackend, content: Any, deposit: int = 8 * NANO) -> None:
    do(backend, "a0", ProposalSubmit("Fees", "Because", content, Amount(deposit)))


async def test_a_proposal_from_deposit_to_execution(client: Client, backend: TestBackend) -> None:
    propose(backend, CHANGES, 2 * NANO)
    shown = await client.call("governance.proposal", proposal=1)
    assert (shown["status"], shown["deposit"], shown["deposit_wanted"]) == (
        "deposit",
        str(2 * NANO),
        str(8 * NANO),
    )
    assert shown["deposits"] == [{"depositor": format_address(PROPOSER.address), "amount": str(2 * NANO)}]
    assert shown["content"] == {
        "kind": "parameters",
        "changes": [
            {"name": "base_fee_min", "value": "5", "of": 0},
            {"name": "reputation_decay", "value": "3", "of": 4},
            {"name": "delta_ms", "value": "900", "of": 0},
        ],
    }
    assert (shown["tally"], shown["voting_until"], shown["ended_at"]) == (None, None, None)
    assert await client.fault("governance.tally", {"proposal": 1}) == (-32001, "not_found")

    do(backend, "a1", ProposalDeposit(ProposalId(1), Amount(6 * NANO)))
    for name, option in zip(VOTERS, (VoteOption.YES, VoteOption.YES, VoteOption.NO), strict=True):
        do(backend, name, ProposalVote(ProposalId(1), option))
    tally = await client.call("governance.tally", proposal=1)
    assert (tally["yes"], tally["no"], tally["power"]) == (str(2 * STAKE), str(STAKE), str(4 * STAKE))
    assert (tally["final"], tally["outcome"], tally["quorum_bps"]) == (False, "passed", 3_340)
    backend.commit()
    passed = await client.call("governance.proposal", proposal=1)
    assert (passed["status"], passed["tally"]["final"], passed["deposits"]) == ("passed", True, [])
    for _ in range(2):
        backend.commit()
    done = await client.call("governance.proposal", proposal=1)
    assert (done["status"], done["ended_at"]) == ("executed", done["executes_at"])
    assert done["tally"] == passed["tally"] | {"outcome": "executed"}

    rows = {row["name"]: row for row in await client.call("governance.params")}
    assert list(rows) == list(SPECS)
    fee, delta, fixed = rows["base_fee_min"], rows["delta_ms"], rows["epoch_blocks"]
    assert (fee["value"], fee["next_epoch"], fee["proposal"]) == ("5", None, 1)
    assert (fee["low"], fee["high"], fee["in_force_from"]) == ("1", "1000000", done["ended_at"] + 1)
    assert (delta["value"], delta["next_epoch"], delta["step"]) == ("700", "900", 2)
    assert delta["in_force_from"] == 601
    assert rows["reputation_decay"]["value"] == "3/4"
    assert (fixed["takes_effect"], fixed["proposal"], bool(fixed["fixed_because"])) == ("fixed", None, True)
    assert (await client.call("chain.params"))["base_fee_min"] == 5


async def test_votes_by_proposal_and_by_voter_in_pages(client: Client, backend: TestBackend) -> None:
    for _ in range(2):
        propose(backend, TextOnly())
    for name in VOTERS:
        orders = [(key(name), ProposalVote(ProposalId(number), VoteOption.VETO)) for number in (1, 2)]
        assert all(receipt.ok for receipt in backend.commit(*orders).result.receipts)
    found, cursor = [], None
    while True:
        given = {"cursor": cursor} if cursor else {}
        page = await client.call("governance.votes", proposal=1, limit=1, **given)
        found += page["votes"]
        cursor = page["next"]
        if cursor is None:
            break
    assert sorted(vote["voter"] for vote in found) == sorted(
        format_address(key(name).address) for name in VOTERS
    )
    assert {vote["option"] for vote in found} == {"veto"}
    mine = await client.call("governance.votes", voter=format_address(key("v1").address))
    assert [vote["proposal"] for vote in mine["votes"]] == [2, 1]
    first = await client.call("governance.proposals", limit=1)
    assert [line["proposal"] for line in first["proposals"]] == [2]
    rest = await client.call("governance.proposals", limit=1, cursor=first["next"])
    assert ([line["proposal"] for line in rest["proposals"]], rest["next"]) == ([1], None)
    assert (await client.call("governance.proposals", status="executed"))["proposals"] == []


async def test_upgrades_say_whether_this_node_is_ready(client: Client, backend: TestBackend) -> None:
    assert await client.call("governance.upgrades") == []
    propose(backend, SoftwareUpgrade("two", "2.0", Height(500)))
    assert all(
        receipt.ok
        for receipt in backend.commit(
            *((key(name), ProposalVote(ProposalId(1), VoteOption.YES)) for name in VOTERS)
        ).result.receipts
    )
    for _ in range(6):
        backend.commit()
    assert await client.call("governance.upgrades") == [
        {"name": "two", "version": "2.0", "height": 500, "proposal": 1, "known": False, "active": False}
    ]


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("governance.proposal", {"proposal": 9}, "not_found"),
        ("governance.votes", {"proposal": 9}, "not_found"),
        ("governance.tally", {"proposal": 9}, "not_found"),
        ("governance.votes", {}, "params"),
        ("governance.votes", {"proposal": 1, "voter": "omnit1x"}, "params"),
        ("governance.votes", {"voter": "omnit1x"}, "key"),
        ("governance.proposals", {"status": "lost"}, "params"),
        ("governance.proposals", {"cursor": "zz"}, "cursor"),
        ("governance.proposal", {"proposal": -1}, "params"),
        ("governance.proposal", {"proposal": "1"}, "params"),
    ],
)
async def test_wrong_questions(client: Client, method: str, params: dict[str, Any], code: str) -> None:
    assert (await client.fault(method, params))[1] == code
