"""Reports and live status through the SDK and the command line, of a real campaign from its opening to its end."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from omnitensor.protocol.types import NANO
from omnitensor.sdk import Client, Contributor, Gold, ItemScore, Sponsor, Validator, Wallet
from omnitensor.sdk.watching import Snapshot
from tests.cli.people import Person
from tests.cli.test_cli_terminal import at_terminal
from tests.sdk.samples import write_texts
from tests.sdk.small_chain import FAST, SmallChain
from tests.sdk.test_sdk_story import open_campaign

pytestmark = [pytest.mark.xdist_group("sponsor-reports"), pytest.mark.slow, pytest.mark.timeout(1_800)]

Wallets = Callable[[str], Wallet]
REVIEWERS = ("v0", "v1", "v2", "v3")


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallChain]:
    params = replace(FAST, challenge_blocks=60, gold_reveal_blocks=1_000)
    found = SmallChain(tmp_path_factory.mktemp("node"), params)
    yield found
    found.stop()


class Story:
    """A campaign of six texts, two of them bad and one of the others gold; v3 likes everything."""

    def __init__(self, chain: SmallChain, wallet: Wallets, folder: Path) -> None:
        self.chain, self.wallet, self.folder = chain, wallet, folder
        self.home = folder / "home"
        self.campaign = open_campaign(
            chain, wallet("sponsor"), self.home, first_seats=4, second_seats=3, item_bond="0.2", audit_bps=0
        )
        self.texts = write_texts(folder / "texts", 6, skip=10)
        bad = {path.read_text() for path in self.texts[:2]}

        def judge(item: Any) -> ItemScore:
            return ItemScore(90, 85, 20 if item.text() in bad else 80)

        def like(item: Any) -> ItemScore:
            return ItemScore(95, 95, 95)

        for name in REVIEWERS:
            scorer = like if name == "v3" else judge
            validator = Validator(
                wallet=wallet(name), endpoint=chain.endpoint, scorer=scorer, home=folder / name
            )
            threading.Thread(target=validator.review_loop, args=([self.campaign],), daemon=True).start()
        self.watch = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "omnitensor.cli.main",
                "campaign",
                "watch",
                str(self.campaign),
                "--every",
                "0.2",
            ],
            env=Person(folder / "watcher", chain.endpoint).environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.play()

    def play(self) -> None:
        answers = self.folder / "answers.json"
        answers.write_text(json.dumps([{"path": str(self.texts[5]), "pass": True}]))
        with (
            Gold(self.wallet("sponsor"), endpoint=self.chain.endpoint, home=self.home) as gold,
            Contributor(self.wallet("contributor"), endpoint=self.chain.endpoint, home=self.home) as giver,
            Sponsor(self.wallet("sponsor"), endpoint=self.chain.endpoint, home=self.home) as sponsor,
        ):
            gold.commit(self.campaign, answers)
            giver.upload(self.campaign, self.texts)
            saying = threading.Thread(target=gold.reveal_loop, args=(self.campaign,), daemon=True)
            saying.start()
            self.chain.until(lambda: all(item.judged for item in giver.items(self.campaign)), 600)
            self.judged = giver.items(self.campaign)
            self.live = (
                Person(self.folder / "looker", self.chain.endpoint)
                .must("report", "contributor", "--wallet", self.wallet("contributor").text, "--json")
                .json
            )
            sponsor.close_campaign(self.campaign)
            self.chain.until(lambda: sponsor.status(self.campaign).is_over, 600)
            saying.join(600)
        self.watched, self.watch_errors = self.watch.communicate(timeout=600)


@pytest.fixture(scope="module")
def story(chain: SmallChain, tmp_path_factory: pytest.TempPathFactory) -> Story:
    from tests.state.chain_fixtures import key

    return Story(chain, lambda name: Wallet(key(name), key(name).address), tmp_path_factory.mktemp("story"))


@pytest.fixture
def nobody(chain: SmallChain, tmp_path: Path) -> Person:
    """Reports need no account."""
    return Person(tmp_path / "nobody", chain.endpoint)


def test_spend(story: Story, chain: SmallChain, nobody: Person) -> None:
    with Client(chain.endpoint, home=story.home) as client:
        found, campaign = client.spend(story.campaign), client.campaign(story.campaign)
        report = client.contributor_report(story.wallet("contributor").address)
        paid = [client.rewards(story.wallet(name).address).earned["review"] for name in REVIEWERS]
    assert report.total.paid == found.contributors
    assert found.funded == 400 * NANO
    assert found.held_total == found.unattributed == 0
    assert found.funded + found.penalties == found.contributors + found.reviewers + found.returned
    assert found.first_rounds + found.second_rounds == found.reviewers == sum(paid)
    assert found.contributors == campaign.paid_contributors > 0
    assert (found.gold.laid, found.gold.returned, found.gold.burned) == (found.gold.laid, found.gold.laid, 0)
    seen: list[Snapshot] = []
    with Sponsor(story.wallet("sponsor"), endpoint=chain.endpoint, home=story.home) as sponsor:
        last = sponsor.follow(story.campaign, seen.append)
        assert (last.spend, sponsor.spend(story.campaign)) == (found, found)
        assert sponsor.agreement(story.campaign).batches >= 1
    assert [each.status for each in seen] == ["closed"]
    told = nobody.must("campaign", "spend", str(story.campaign), "--json").json
    assert told["funded"] == "400"
    assert sum(map(float, told["held"].values())) == 0
    assert "400 OMNIT" in nobody.must("campaign", "spend", str(story.campaign)).out


def test_agreement(story: Story, chain: SmallChain, nobody: Person) -> None:
    told = nobody.must("campaign", "agreement", str(story.campaign), "--json").json
    by_name = {each["name"]: each for each in told["agreements"]}
    relevance, accuracy = by_name["relevance"], by_name["accuracy"]
    assert (relevance["units"], relevance["reports"]) == (6, 24)
    # Of two items 3 of 4 say no, so half of the pairs agree there; on the other four all do.
    assert relevance["same"] == pytest.approx((4 + 2 * 0.5) / 6)
    ones = (4 + 2 * 0.25) / 6
    chance = 2 * ones * (1 - ones)
    assert relevance["ac1"]["value"] == pytest.approx((relevance["same"] - chance) / (1 - chance))
    assert relevance["ac1"]["low"] < relevance["ac1"]["value"] < relevance["ac1"]["high"]
    assert relevance["alpha"]["value"] < relevance["ac1"]["value"]
    assert relevance["alpha_scores"]["value"] is not None
    assert accuracy["alpha"]["value"] is None, "all pass: there is nothing to agree beyond"
    assert accuracy["ac1"]["value"] == 1
    assert by_name["flagged"]["same"] == 1
    shown = nobody.must("campaign", "agreement", str(story.campaign)).out
    assert "not defined" in shown
    assert "relevance (at 60)" in shown
    second = nobody.must("campaign", "agreement", str(story.campaign), "--round", "2", "--json").json
    assert second["batches"] == 0
    with Client(chain.endpoint, home=story.home) as client:
        assert client.agreement(story.campaign).as_dict() == told


def test_report_of_the_contributor(story: Story, nobody: Person, tmp_path: Path) -> None:
    address = story.wallet("contributor").text
    live = story.live
    assert live["total"]["rejected"] == 2
    assert live["total"]["acceptance_bps"] == 4 * 10_000 // 6
    assert live["total"]["reasons"] == {"relevance": 2}
    assert len(live["appeals"]) <= 2
    assert all(each["points_missing"] == 40 and each["bond"] == "1.5" for each in live["appeals"])
    told = nobody.must("report", "contributor", "--wallet", address, "--json").json
    total = told["total"]
    assert (total["submitted"], total["accepted"], total["waiting"]) == (6, 4, 0)
    assert float(total["paid"]) == pytest.approx(sum(float(item["paid"]) for item in told["items"]))
    assert total["paid"] == total["rewarded"]
    assert (total["bonds_held"], total["pending"], told["appeals"]) == ("0", "0", [])
    assert float(told["penalties"]) == pytest.approx(2 * 0.2 / 4)
    assert told["campaigns"][str(story.campaign)] == total
    out = tmp_path / "items.csv"
    nobody.must("report", "contributor", "--wallet", address, "--format", "csv", "--out", str(out))
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert len(rows) == 6
    assert {row["status"] for row in rows} == {"paid", "rejected"}
    assert sum(float(row["paid"]) for row in rows) == pytest.approx(float(total["paid"]))
    again = nobody.type("report", "contributor", "--wallet", address, "--format", "csv", "--out", str(out))
    assert (again.code, "is there already" in again.err) == (2, True)
    shown = nobody.must("report", "contributor", "--wallet", address, "--task-id", str(story.campaign))
    assert "relevance 2" in shown.out
    (last,) = nobody.must("report", "contributor", "--wallet", address, "--last", "1", "--json").json["items"]
    assert last["item"] == max(int(row["item"]) for row in rows)


def test_report_of_reviewers(story: Story, nobody: Person) -> None:
    for name in REVIEWERS:
        told = nobody.must("report", "reviewer", "--validator", story.wallet(name).text, "--json").json
        total = told["total"]
        assert total["judged"] == 6
        assert total["agreed"] == (4 if name == "v3" else 6)
        assert (total["gold_right"], total["gold_bits"]) == (3, 3)
        assert total["gold_bps"] == 10_000
        assert len(told["history"]) == total["revealed"] == total["seats"]
        assert told["standing_bps"] == told["history"][-1]["quality_bps"]
        assert float(total["paid"]) <= float(total["fees"])
    address = story.wallet("v0").text
    text = nobody.must("report", "reviewer", "--validator", address, "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["state"] for row in rows} == {"revealed"}
    assert "100.0 %" in nobody.must("report", "reviewer", "--validator", address).out
    stranger = nobody.must("report", "reviewer", "--validator", story.wallet("second").text).out
    assert "no validator" in stranger


def test_watch(story: Story, chain: SmallChain, nobody: Person) -> None:
    """The lines that a pipe got all along, one for each change, and the screen at a terminal."""
    assert story.watch.returncode == 0, story.watch_errors
    lines = [json.loads(line) for line in story.watched.splitlines()]
    assert lines[0]["status"] == "open"
    assert lines[-1]["status"] == "closed"
    assert lines[-1]["items"]["paid"] == 4
    assert {phase for line in lines for phase in line["batches"]} >= {"done"}
    assert any(line["seats"] for line in lines)
    heights = [line["height"] for line in lines]
    assert heights == sorted(heights)
    for line in lines:
        spend = {name: amount for name, amount in line["spend"].items() if isinstance(amount, str)}
        money_in = nano(spend["funded"]) + nano(spend["penalties"])
        held = sum(map(nano, line["spend"]["held"].values()))
        assert money_in == held + sum(nano(spend[name]) for name in ("contributors", "reviewers", "returned"))
    code, shown = at_terminal(nobody, "campaign", "watch", str(story.campaign), answers=())
    assert code == 0
    for text in ("closed, height", "paid 4", "contributors", "returned", "gold's bonds"):
        assert text in shown
    one = nobody.must("campaign", "watch", str(story.campaign), "--updates", "1").out
    assert json.loads(one)["campaign"] == story.campaign


def nano(text: str) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole) * NANO + int(fraction.ljust(9, "0") or "0")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("campaign", "watch", "999999"), "999999"),
        (("campaign", "watch", "dogs"), "dogs"),
        (("campaign", "spend", "999999"), "999999"),
        (("campaign", "agreement", "999999"), "999999"),
        (("campaign", "agreement", "1", "--round", "3"), "--round"),
        (("report", "contributor", "--wallet", "omnit1nobody"), "omnit1nobody"),
        (("report", "contributor"), "logged in"),
        (("report", "reviewer", "--validator", "x"), "x"),
        (("report", "reviewer", "--format", "xml"), "xml"),
        (("report", "reviewer", "--last", "0"), "--last"),
        (("report", "reviewer", "--validator", "", "--out", "x"), "logged in"),
        (("campaign", "watch", "1", "--every", "0"), "--every"),
    ],
)
def test_wrong_inputs(nobody: Person, words: tuple[str, ...], named: str) -> None:
    said = nobody.type(*words)
    assert said.code in (1, 2)
    assert named in said.err
    (line,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert line.endswith(")")
