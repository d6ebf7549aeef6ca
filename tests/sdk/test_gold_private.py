"""Gold of a private campaign, by a real process: bound as it is encrypted, handed in, opened to reviewers, and telling on one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from omnitensor.protocol.bodies import Scope
from omnitensor.protocol.content import content_id_of
from omnitensor.sdk import (
    CampaignStateError,
    Client,
    Contributor,
    Gold,
    InputError,
    ItemScore,
    Private,
    Sponsor,
    Validator,
    Wallet,
)
from omnitensor.sdk.gold_book import GoldBook, book_bytes_max
from omnitensor.sdk.home import Home
from tests.cli.people import Person
from tests.sdk.samples import write_texts
from tests.sdk.small_chain import FAST, SmallChain
from tests.sdk.test_gold_run import Run, gold_folder
from tests.sdk.test_sdk_story import api_key, open_campaign

pytestmark = [pytest.mark.xdist_group("gold-private"), pytest.mark.slow, pytest.mark.timeout(1_800)]

Wallets = Callable[[str], Wallet]
PIECES = 6
READERS = ("v0", "v1", "v2")
LAZY = "v2"
"""Accepts whatever it gets, unread."""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallChain]:
    """One that gives everybody time."""
    params = replace(
        FAST, report_commit_blocks=4_000, grant_blocks=2_000, challenge_blocks=300, gold_reveal_blocks=2_000
    )
    found = SmallChain(tmp_path_factory.mktemp("node"), params)
    yield found
    found.stop()


def open_private(chain: SmallChain, wallet: Wallet, home: Path, **fields: object) -> int:
    return open_campaign(chain, wallet, home, private=True, first_seats=3, second_seats=0, **fields)


def book_of(home: Path, campaign: int) -> GoldBook:
    (path,) = (home / "work" / "gold").glob(f"*/{campaign}.json")
    found = Home(home).read(path, GoldBook, book_bytes_max)
    assert found is not None
    return found


def test_it_is_judged_by_who_can_read_it_and_convicts_who_did_not(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path
) -> None:
    """The one command gives the keys of what it hands in, too; killed in between it binds and hands in nothing twice."""
    campaign = open_private(chain, wallet("sponsor"), home)
    sponsor = Person(tmp_path / "sponsor", chain.endpoint).log_in("sponsor")
    helper = Person(tmp_path / "helper", chain.endpoint).log_in("second")
    folder = gold_folder(tmp_path / "gold")
    more = next((folder / "pass").iterdir())  # the lazy one is wrong about four, and right about two
    more.rename(folder / "fail" / more.name)
    bad = {path.read_text() for path in (folder / "fail").iterdir()}
    files = [path for path in folder.rglob("*.txt") if path.is_file()]

    def judge(item: object) -> ItemScore:
        return ItemScore(10, 10, 10) if item.text() in bad else ItemScore(90, 90, 90)  # type: ignore[attr-defined] # a DataItem

    def accept(item: object) -> ItemScore:
        return ItemScore(90, 90, 90)

    for name in READERS:
        with Private(wallet(name), endpoint=chain.endpoint, home=tmp_path / name) as reader:
            reader.register_key()
    arguments = ("--task-id", str(campaign), "--from", str(folder), "--hand-in-home", str(helper.folder))
    run = Run(sponsor, *arguments, "--share", "100", "--json")
    with (
        Client(chain.endpoint, home=home) as client,
        Sponsor(wallet("sponsor"), endpoint=chain.endpoint, home=home) as opener,
    ):
        run.kill_when(lambda: client.campaign(campaign).gold is not None)
        bound = book_of(sponsor.folder, campaign)
        run.kill_when(lambda: client.campaign(campaign).counts["submitted"] > 0)
        for name in READERS:
            scorer = accept if name == LAZY else judge
            validator = Validator(
                wallet=wallet(name), endpoint=chain.endpoint, scorer=scorer, home=tmp_path / name
            )
            threading.Thread(target=validator.review_loop, args=([campaign],), daemon=True).start()

        def judged() -> bool:
            counts = client.campaign(campaign).counts
            return counts["submitted"] == PIECES and counts["queued"] + counts["in_review"] == 0

        chain.until(judged, 600)
        opener.close_campaign(campaign)
        out, err = run.program.communicate(timeout=600)
        assert run.program.returncode == 0, err
        told = json.loads(out)
        assert (told["pieces"], told["returned"], told["burned"]) == (PIECES, PIECES, 0)
        assert book_of(sponsor.folder, campaign) == bound
        items = client.account_items(wallet("second").text, campaign=campaign)
        assert {item.content.chunk_root for item in items} == {piece.chunk_root for piece in bound.pieces}
        assert len(items) == PIECES, "handed in once each"
        assert {piece.plain for piece in bound.pieces} == {
            content_id_of(path.read_bytes()).chunk_root.hex() for path in files
        }
        assert sorted(item.status for item in items) == ["paid"] * 2 + ["rejected"] * 4
        assert not any("unavailable" in item.reasons for item in items), "everybody was given the keys"
        batches = list(client.campaign_batches(campaign))
        said = [each for batch in batches for each in batch.gold]
        assert (len(said), any(each.voided for each in said)) == (PIECES, False)
        seats = [seat for each in batches for seat in client.batch(each.batch, 1).seats]
        lazy = [seat for seat in seats if seat.validator == wallet(LAZY).text]
        careful = [seat for seat in seats if seat.validator != wallet(LAZY).text]
        assert min(seat.gold_bps for seat in careful) > 0
        assert max(seat.gold_bps for seat in lazy) < 0
        assert sum(seat.penalty for seat in lazy) > 0 == sum(seat.penalty for seat in careful)


def test_who_hands_it_in_is_named_when_it_is_bound(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path
) -> None:
    campaign = open_private(chain, wallet("sponsor"), home, title="Whose files")
    folder = gold_folder(tmp_path / "gold")
    sponsor = Person(tmp_path / "sponsor", chain.endpoint).log_in("sponsor")
    said = sponsor.type("gold", "commit", "--task-id", str(campaign), "--from", str(folder))
    assert said.code == 1
    assert "--hand-in-home" in said.err, "it says what to do"
    assert (
        sponsor.must("gold", "check", "--task-id", str(campaign), "--from", str(folder), "--json").json[
            "pieces"
        ]
        == 6
    )
    with Gold(wallet("sponsor"), endpoint=chain.endpoint, home=home) as gold:
        with pytest.raises(CampaignStateError, match="encrypts"):
            gold.commit(campaign, folder)
        with pytest.raises(InputError, match="known for gold"):
            gold.commit(campaign, folder, by=[wallet("contributor"), wallet("sponsor")])
        with Client(chain.endpoint, home=home) as client:
            assert client.campaign(campaign).gold is None
            key = Wallet.from_api_key(api_key(client, wallet("second"), Scope.UPLOAD))
        first = gold.commit(campaign, folder, by=[key, wallet("contributor")])
        assert gold.commit(campaign, folder).id == first.id, "once more is the same, whoever is named"
    signers = {piece.signer for piece in book_of(home, campaign).pieces}
    assert signers <= {key.public.hex(), wallet("contributor").public.hex()}


def test_only_the_key_that_it_was_bound_for_hands_a_piece_in(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path
) -> None:
    """Encrypted by another key it would be another item, and no gold. So it is with a file that was changed."""
    campaign = open_private(chain, wallet("sponsor"), home, title="Keys and files")
    folder = gold_folder(tmp_path / "gold")
    sponsor = Person(tmp_path / "sponsor", chain.endpoint).log_in("sponsor")
    people = {
        name: Person(tmp_path / name, chain.endpoint).log_in(name) for name in ("second", "contributor")
    }
    task = ("--task-id", str(campaign), "--from", str(folder))
    sponsor.must("gold", "commit", *task, "--hand-in-home", str(people["second"].folder))
    changed = next((folder / "pass").iterdir())
    changed.write_text(changed.read_text() + "And one sentence more.")
    everything = (*task, "--share", "100", "--json")
    with (
        Client(chain.endpoint, home=home) as client,
        Sponsor(wallet("sponsor"), endpoint=chain.endpoint, home=home) as opener,
    ):
        other = Run(sponsor, *everything, "--hand-in-home", str(people["contributor"].folder))
        told = other.program.stderr
        assert told is not None
        assert "bound for accounts not named here" in next(line for line in told if "bound for" in line)
        other.program.kill()
        other.program.communicate(timeout=600)
        right = Run(sponsor, *everything, "--hand-in-home", str(people["second"].folder))
        told = right.program.stderr
        assert told is not None
        assert changed.name in next(line for line in told if "not as the campaign was bound" in line)
        assert client.campaign(campaign).counts["submitted"] == 0
        opener.close_campaign(campaign)
        out, _ = right.program.communicate(timeout=600)
        assert right.program.returncode == 0
        assert json.loads(out)["returned"] == PIECES, "what was never met is opened"


def test_a_file_that_is_too_large_encrypted_is_named_before_anything_is_signed(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path
) -> None:
    (text,) = write_texts(tmp_path / "gold" / "pass", 1)
    size = text.stat().st_size
    campaign = open_private(chain, wallet("sponsor"), home, title="Too large", item_bytes_max=size + 10)
    sponsor = Person(tmp_path / "sponsor", chain.endpoint).log_in("sponsor")
    said = sponsor.type("gold", "check", "--task-id", str(campaign), "--from", str(tmp_path / "gold"))
    assert said.code == 2
    assert "encrypted" in said.err
    assert text.name in said.err
    with Contributor(wallet("second"), endpoint=chain.endpoint, home=home) as contributor:
        assert contributor.items(campaign) == []
