"""Gold, appeals and second rounds through the SDK and the command line, against a real chain."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from omnitensor.protocol.keys import format_address
from omnitensor.sdk import (
    CampaignStateError,
    Client,
    Contributor,
    Gold,
    ItemScore,
    NotFoundError,
    Objector,
    Sponsor,
    Validator,
    Wallet,
)
from tests.cli.people import Person
from tests.sdk.samples import write_texts
from tests.sdk.small_chain import FAST, SmallChain
from tests.sdk.test_sdk_story import open_campaign
from tests.state.chain_fixtures import key

pytestmark = [pytest.mark.xdist_group("sdk-second-round"), pytest.mark.slow, pytest.mark.timeout(1_800)]

Wallets = Callable[[str], Wallet]
REVIEWERS = ("v0", "v1", "v2", "v3")


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallChain]:
    """As the others', with time to appeal."""
    params = replace(FAST, challenge_blocks=250, gold_reveal_blocks=1_000)
    found = SmallChain(tmp_path_factory.mktemp("node"), params)
    yield found
    found.stop()


def start_reviewing(chain: SmallChain, wallet: Wallets, folder: Path, judge: object, campaign: int) -> None:
    for name in REVIEWERS:
        validator = Validator(wallet=wallet(name), endpoint=chain.endpoint, scorer=judge, home=folder / name)  # type: ignore[arg-type] # a scorer
        threading.Thread(target=validator.review_loop, args=([campaign],), daemon=True).start()


def test_gold_is_said_and_an_appeal_goes_to_a_second_round(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path
) -> None:
    """Reviewers reject an item at first and accept it when they look again; gold and bonds come back."""
    campaign = open_campaign(chain, wallet("sponsor"), home, audit_bps=0, second_seats=3, first_seats=3)
    first, second, unused = write_texts(tmp_path / "texts", 3, skip=40)
    answers = tmp_path / "gold.csv"
    answers.write_text(
        f"path,completeness,accuracy,relevance\n{second},1,1,1\n{unused},0,0,0\n", encoding="utf-8"
    )
    rounds: set[str] = set()

    def judge(item: object) -> object:
        """The first file is bad the first time that anybody sees it."""
        text = item.text()  # type: ignore[attr-defined] # a DataItem
        again = text == first.read_text() and looked.is_set()
        rounds.add("second" if again else "first")
        return ItemScore(90, 90, 90 if again or text != first.read_text() else 5)

    looked = threading.Event()
    sponsor = Person(tmp_path / "sponsor", chain.endpoint).log_in("sponsor")
    shown = sponsor.must("gold", "commit", "--task-id", str(campaign), "--answers", str(answers), "--json")
    assert shown.json["receipt"]["code"] == "ok"
    assert sponsor.must("gold", "show", "--task-id", str(campaign), "--json").json["gold"]["count"] == 2
    start_reviewing(chain, wallet, tmp_path, judge, campaign)
    with (
        Contributor(wallet("contributor"), endpoint=chain.endpoint, home=home) as contributor,
        Client(chain.endpoint, home=home) as client,
    ):
        contributor.upload(campaign, [first, second])
        answered: list[int] = []

        def said() -> bool:
            found = sponsor.must("gold", "reveal", "--task-id", str(campaign), "--json").json["batches"]
            answered.extend(found)
            return bool(answered)

        chain.until(said, 600)
        chain.until(lambda: all(item.judged for item in contributor.items(campaign)), 600)
        items = {item.status: item for item in contributor.items(campaign)}
        rejected = items["rejected"]
        assert rejected.appeal_until is not None
        assert rejected.judged
        assert not rejected.settled, "it holds its bond and can be appealed"
        assert rejected.bond_cost > 0
        assert client.campaign(campaign).gold.returned == 1  # type: ignore[union-attr] # it has some
        batch = client.batch(rejected.batch or 0, 1)
        assert {seat.gold_bps for seat in batch.seats} == {10_000}
        looked.set()
        person = Person(tmp_path / "contributor", chain.endpoint).log_in("contributor")
        told = person.must("appeal", str(rejected.item), "--dry-run", "--json").json
        assert told["bond"] == "1.5"
        person.must("appeal", str(rejected.item), "--json")
        chain.until(lambda: client.item(rejected.item).status in ("accepted", "paid"), 600)
        item = client.item(rejected.item)
        assert item.appeal is not None
        assert (item.escalation, item.appeal.state) == ("appeal", "turned")
        again = client.batch(item.second or 0, 2)
        assert (again.origin, again.asked, again.thin) == (rejected.batch, 3, True)
        assert rounds == {"first", "second"}
        sponsor.must("gold", "retire", "--task-id", str(campaign), "--json")
        assert client.campaign(campaign).gold.returned == 2  # type: ignore[union-attr] # it has some


def test_mistakes_with_gold_and_appeals_say_what_to_do(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path
) -> None:
    campaign = open_campaign(chain, wallet("sponsor"), home)
    sponsor = Person(tmp_path / "sponsor", chain.endpoint).log_in("sponsor")
    (text,) = write_texts(tmp_path / "texts", 1, skip=50)
    answers = tmp_path / "gold.csv"
    for content, said in (
        ("path,accuracy\nx,1\n", "does not say whether completeness passes"),
        (f"path,completeness,accuracy,relevance\n{text},1,1,1\n{text},1,1,1\n", "was named before"),
        ("path,completeness,accuracy,relevance\nnowhere.txt,1,1,1\n", "there is no such file"),
        ("", "no answers"),
    ):
        answers.write_text(content, encoding="utf-8")
        found = sponsor.type("gold", "commit", "--task-id", str(campaign), "--answers", str(answers))
        assert found.code != 0
        assert said in found.err
    found = sponsor.type("gold", "reveal", "--task-id", str(campaign))
    assert "no gold of this campaign on this disk" in found.err
    with Objector(wallet("second"), endpoint=chain.endpoint, home=home) as objector:
        with pytest.raises(NotFoundError):
            objector.appeal(999_999)
        with pytest.raises(NotFoundError):
            objector.show_leak(999_999, 1, format_address(key("v0").address), bytes(32), b"\0" * 4)
    with Gold(wallet("sponsor"), endpoint=chain.endpoint, home=home) as gold, pytest.raises(NotFoundError):
        gold.retire(campaign)
    with (
        Sponsor(wallet("second"), endpoint=chain.endpoint, home=home) as other,
        pytest.raises(CampaignStateError),
    ):
        other.cancel_campaign(campaign)
    assert sponsor.must("campaign", "cancel", str(campaign), "--json").json["receipt"]["code"] == "ok"
    with Client(chain.endpoint, home=home) as client:
        assert client.campaign(campaign).status == "cancelled"
