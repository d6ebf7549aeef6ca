"""season.*, competition.*, account.badges and campaign.leaderboard over a real socket, on a chain whose seasons end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from omnitensor.light import check_row
from omnitensor.protocol.bodies import CampaignOpen, CompetitionOpen
from omnitensor.protocol.codec import decode
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.params import Params
from omnitensor.protocol.rows_season import (
    Competition,
    Season,
    Standing,
    competition_key,
    season_key,
    standing_key,
)
from omnitensor.protocol.seasons import BadgeKind, Role
from omnitensor.protocol.types import NANO, Address, Amount, CampaignId
from rpc.methods import TABLE
from rpc.methods_season import BadgeName
from state.ledger import badges, standings
from state.ledger.context import BlockContext
from state.ledger.registry import END_OF_BLOCK
from state.ledger.view import View
from tests.rpc.test_proofs import SPEC, header_at, row
from tests.rpc.world import Client, TestBackend, serve
from tests.state.chain_fixtures import key, make_genesis

PARAMS = Params(epoch_blocks=4, season_epochs=2, season_pool=Amount(1_000), season_places=3)
SCORERS = [key(f"scorer{n}").address for n in range(7)]


def scored(view: View, ctx: BlockContext) -> tuple[()]:
    """A step of these chains alone: in the second block everybody scores, as if paid."""
    if ctx.height == 2:
        for place, who in enumerate(SCORERS):
            standings.contributed(view, who, 100 - place, 100 - place, CampaignId(1))
        standings.reviewed(view, SCORERS[0], 7)
        badges.give(view, ctx, SCORERS[0], BadgeKind.FIRST_ITEM)
    return ()


@pytest.fixture
async def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[TestBackend, Client]]:
    """A chain whose first season is over and paid."""
    monkeypatch.setattr("state.ledger.transition.END_OF_BLOCK", (scored, *END_OF_BLOCK))
    backend = TestBackend(tmp_path, make_genesis(params=PARAMS))
    backend.commit((key("a0"), CampaignOpen(SPEC, Amount(100 * NANO))))
    backend.commit((key("a1"), CompetitionOpen(CampaignId(1), Amount(200 * NANO), 1, (6_000, 4_000))))
    for _ in range(8):
        backend.commit()
    server = await serve(backend)
    client = Client(server, set())
    yield backend, client
    await client.close()
    await server.stop()
    backend.close()


def text(account: Address) -> str:
    return format_address(account)


async def test_a_season_that_is_over(ended: tuple[TestBackend, Client]) -> None:
    backend, client = ended
    shown = await client.call("season.get", season=0, proof=True)
    assert (shown["closed_at"], shown["ends_after_epoch"], shown["paid"]) == (8, None, "800")
    assert shown["pools"] == {"contributor": "500", "validator": "300", "worker": "0"}
    value, proof = row(shown["proof"])
    check_row(header_at(backend, backend.reader().head.height), season_key(0), value, proof)
    assert value is not None
    assert decode(Season, value).paid == 800
    running = await client.call("season.get")
    assert (running["season"], running["closed_at"], running["first_epoch"], running["ends_after_epoch"]) == (
        1,
        None,
        2,
        3,
    )
    assert running["pools"] == {"contributor": "500", "validator": "300", "worker": "200"}
    first = await client.call("season.list", limit=1)
    assert [each["season"] for each in first["seasons"]] == [1]
    rest = await client.call("season.list", limit=1, cursor=first["next"])
    assert ([each["season"] for each in rest["seasons"]], rest["next"]) == ([0], None)
    assert (await client.fault("season.get", {"season": 2}))[1] == "not_found"


async def test_leaderboards_in_pages(ended: tuple[TestBackend, Client]) -> None:
    _, client = ended
    found, cursor = [], None
    for _ in range(4):
        more = {} if cursor is None else {"cursor": cursor}
        page = await client.call("season.leaderboard", season=0, limit=2, **more)
        found += page["places"]
        cursor = page["next"]
    assert cursor is None
    assert [each["account"] for each in found] == [text(who) for who in SCORERS]
    assert [(each["rank"], each["value"]) for each in found] == [(n + 1, str(100 - n)) for n in range(7)]
    assert (await client.call("season.leaderboard", role="worker", season=0))["places"] == []
    assert (await client.call("season.leaderboard"))["places"] == [], "a new season begins with nobody"
    one = await client.call("season.leaderboard", role="validator", season=0)
    assert one["places"] == [{"rank": 1, "account": text(SCORERS[0]), "value": "7", "works": 1, "missed": 0}]
    of_campaign = await client.call("campaign.leaderboard", campaign=1, limit=3)
    assert [each["account"] for each in of_campaign["places"]] == [text(who) for who in SCORERS[:3]]
    assert (await client.call("campaign.leaderboard", campaign="1", limit=3, cursor=of_campaign["next"]))[
        "places"
    ][0]["rank"] == 4
    assert (await client.fault("season.leaderboard", {"role": "king"}))[0] == -32602
    assert (await client.fault("season.leaderboard", {"cursor": "made up"}))[1] == "cursor"
    assert (await client.fault("campaign.leaderboard", {"campaign": 99}))[1] == "not_found"


async def test_standings_and_badges(ended: tuple[TestBackend, Client]) -> None:
    backend, client = ended
    shown = await client.call("season.standing", address=text(SCORERS[2]), season=0, proof=True)
    assert (shown["rank"], shown["value"], shown["role"]) == (3, "98", "contributor")
    value, proof = row(shown["proof"])
    wanted = standing_key(Role.CONTRIBUTOR, 0, SCORERS[2])
    check_row(header_at(backend, backend.reader().head.height), wanted, value, proof)
    assert value is not None
    assert decode(Standing, value).value == 98
    nobody = await client.call("season.standing", address=text(key("a3").address), role="validator")
    assert (nobody["rank"], nobody["value"]) == (None, "0")
    held = await client.call("account.badges", address=text(SCORERS[0]))
    assert [(each["badge"], each["of"], each["rank"]) for each in held["badges"]] == [
        ("first_item", None, None),
        ("top_contributor", 0, 1),
        ("top_validator", 0, 1),
    ]
    assert int(held["prizes"]) == 250 + 300
    page = await client.call("account.badges", address=text(SCORERS[0]), limit=2)
    more = await client.call("account.badges", address=text(SCORERS[0]), limit=2, cursor=page["next"])
    assert [each["badge"] for each in more["badges"]] == ["top_validator"]


async def test_competitions(ended: tuple[TestBackend, Client]) -> None:
    backend, client = ended
    shown = await client.call("competition.get", competition=1, proof=True)
    assert (shown["campaign"], shown["rule"], shown["shares_bps"], shown["ended_at"]) == (
        1,
        "ranks",
        [6_000, 4_000],
        None,
    )
    value, proof = row(shown["proof"])
    check_row(header_at(backend, backend.reader().head.height), competition_key(1), value, proof)
    assert value is not None
    assert decode(Competition, value).pool == 200 * NANO
    assert [each["competition"] for each in (await client.call("competition.list"))["competitions"]] == [1]
    assert (await client.call("competition.list", campaign=1, limit=1))["next"] is None
    assert (await client.call("competition.list", campaign=2))["competitions"] == []
    assert (await client.fault("competition.get", {"competition": 9}))[1] == "not_found"


def test_names_of_badges_are_those_of_the_rows() -> None:
    assert list(BadgeName.__args__) == [kind.label for kind in BadgeKind]  # type: ignore[attr-defined] # a Literal
    assert "season.leaderboard" in {method.name for method in TABLE}
