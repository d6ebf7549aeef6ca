"""Seasons and competitions by typing: boards, badges, a pool that is put up and comes back, and every wrong input refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnitensor.protocol.keys import format_address
from tests.cli.people import Person
from tests.sdk.small_chain import SmallChain
from tests.state.chain_fixtures import key

pytestmark = pytest.mark.xdist_group("cli-multisig")
CAMPAIGN = (
    "campaign open --yes --title Words --media text/plain --unit-price 4 --review-fee 0.5 --item-bond 0.2"
    " --budget 50 --preset economy --seats 4"
)


@pytest.fixture
def sponsor(chain: SmallChain, tmp_path: Path) -> Person:
    return Person(tmp_path / "sponsor", chain.endpoint).log_in("sponsor")


def test_a_season_and_its_boards(sponsor: Person) -> None:
    shown = sponsor.must("season", "--json").json
    assert (shown["season"], shown["first_epoch"], shown["closed_at"]) == (0, 0, None)
    assert shown["pools"] == {"contributor": "25000", "validator": "15000", "worker": "10000"}
    assert "runs, up to the end of epoch 4319" in sponsor.must("season").out
    assert sponsor.must("leaderboard", "--role", "validator").out == "nobody has scored yet\n"
    assert sponsor.must("leaderboard", "--json").json == {"places": []}
    held = sponsor.must("badges", "--json").json
    assert (held["badges"], held["prizes"], held["items"]) == ([], "0", 0)
    assert "0 badges" in sponsor.must("badges", "--wallet", format_address(key("v1").address)).out
    assert sponsor.type("season", "--number", "7").code == 1
    assert sponsor.type("leaderboard", "--role", "king").code == 2
    assert sponsor.type("leaderboard", "--campaign", "999999").code == 1
    assert sponsor.type("badges", "--wallet", "nobody").code == 2


def test_a_competition_whose_pool_comes_back(chain: SmallChain, tmp_path: Path, sponsor: Person) -> None:
    giver = Person(tmp_path / "second", chain.endpoint).log_in("second")
    number = str(sponsor.must(*CAMPAIGN.split(), "--json").json["campaign"])
    assert "no competitions" in giver.must("competition", "list", "--campaign", number).out
    opened = giver.must(
        "competition",
        "open",
        "--campaign",
        number,
        "--pool",
        "150",
        "--share",
        "7000",
        "--share",
        "3000",
        "--json",
    ).json
    competition = str(opened["competition"])
    shown = giver.must("competition", "show", competition, "--json").json
    assert (shown["pool"], shown["rule"], shown["shares_bps"], shown["ended_at"]) == (
        "150",
        "ranks",
        [7_000, 3_000],
        None,
    )
    assert "70 %, 30 %" in giver.must("competition", "show", competition).out
    giver.must("competition", "open", "--campaign", number, "--pool", "100")
    listed = giver.must("competition", "list", "--campaign", number, "--json").json["competitions"]
    assert [each["rule"] for each in listed] == ["proportional", "ranks"]
    held = chain.balance("second")
    sponsor.must("campaign", "close", number)
    chain.until(lambda: chain.balance("second") == held + 250 * 10**9)
    ended = giver.must("competition", "show", competition, "--json").json
    assert (ended["paid"], ended["returned"]) == ("0", "150")
    late = giver.type("competition", "open", "--campaign", number, "--pool", "100", "--json")
    assert (late.code, late.json["error"]["code"]) == (1, "campaign_closed")


@pytest.mark.parametrize(
    ("options", "code", "complaint"),
    [
        (("--campaign", "1234", "--pool", "100", "--share", "5000"), 2, "come to 5000"),
        (("--campaign", "1234", "--pool", "100", "--share", "0"), 2, "not in the range"),
        (("--campaign", "words", "--pool", "100"), 1, "no campaign has this id"),
        (("--campaign", "1234", "--pool", "many"), 2, "not an amount"),
        (("--campaign", "77777", "--pool", "100"), 1, "no such campaign"),
    ],
)
def test_wrong_competitions(sponsor: Person, options: tuple[str, ...], code: int, complaint: str) -> None:
    said = sponsor.type("competition", "open", *options)
    assert (said.code, complaint in said.err) == (code, True), said
    assert sponsor.type("competition", "show", "55").code == 1
