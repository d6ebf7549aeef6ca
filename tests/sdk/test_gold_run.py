"""Gold from a folder to the last bond, by a real process that is killed at every turn: nothing is missed or done twice."""

from __future__ import annotations

import json
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from omnitensor.sdk import (
    Client,
    Contributor,
    Gold,
    InputError,
    ItemScore,
    Sponsor,
    Validator,
    Wallet,
)
from omnitensor.sdk.gold_book import GoldBook, Piece, Progress, book_bytes_max
from omnitensor.sdk.gold_run import GoldRunner
from omnitensor.sdk.home import Home
from tests.cli.people import Person
from tests.sdk.samples import write_texts
from tests.sdk.small_chain import FAST, SmallChain
from tests.sdk.test_sdk_story import open_campaign

pytestmark = [pytest.mark.xdist_group("gold-run"), pytest.mark.slow, pytest.mark.timeout(1_800)]

Wallets = Callable[[str], Wallet]
PIECES = 6


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallChain]:
    """Time enough to be killed and started again within a window."""
    params = replace(FAST, challenge_blocks=300, gold_reveal_blocks=2_000, batch_items=5)
    found = SmallChain(tmp_path_factory.mktemp("node"), params)
    yield found
    found.stop()


def gold_folder(folder: Path) -> Path:
    """Half of them good, by sub-folders."""
    paths = write_texts(folder / "pass", PIECES, skip=30)
    for path in paths[PIECES // 2 :]:
        (folder / "fail").mkdir(exist_ok=True)
        path.rename(folder / "fail" / path.name)
    return folder


class Run:
    """`gold run` as a process, started again after each kill."""

    def __init__(self, sponsor: Person, *arguments: str) -> None:
        self._line = [sys.executable, "-m", "omnitensor.cli.main", "gold", "run", *arguments]
        self._who = sponsor
        self.kills = 0
        self.start()

    def start(self) -> None:
        self.program = subprocess.Popen(
            self._line,
            env=self._who.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill_when(self, holds: Callable[[], bool], timeout_s: float = 600) -> None:
        """Kills it the moment that something is so, and starts it again."""
        end = time.monotonic() + timeout_s
        while not holds():
            assert self.program.poll() is None, self.program.communicate()
            assert time.monotonic() < end, "it did not come so far"
            time.sleep(0.001)
        self.program.send_signal(signal.SIGKILL)
        self.program.communicate(timeout=600)
        self.kills += 1
        self.start()


def test_killed_everywhere_it_misses_nothing(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path
) -> None:
    campaign = open_campaign(chain, wallet("sponsor"), home, first_seats=3, second_seats=0)
    sponsor = Person(tmp_path / "sponsor", chain.endpoint).log_in("sponsor")
    helper = Person(tmp_path / "helper", chain.endpoint).log_in("second")
    folder = gold_folder(tmp_path / "gold")
    (folder / "fail").rename(folder / "fail-relevance")
    arguments = ("--task-id", str(campaign), "--from", str(folder), "--hand-in-home", str(helper.folder))
    run = Run(sponsor, *arguments, "--share", "50", "--json")

    def file(end: str) -> Path | None:
        return next((sponsor.folder / "work" / "gold").glob(f"*/{campaign}{end}"), None)

    def progress() -> Progress:
        path = file("-progress.json")
        return Home(sponsor.folder).read(path, Progress) or Progress() if path else Progress()

    bad = {path.read_text() for path in (folder / "fail-relevance").iterdir()}

    def judge(item: object) -> object:
        """As the answers have it: otherwise the committee would void them."""
        return ItemScore(90, 90, 20 if item.text() in bad else 90)  # type: ignore[attr-defined] # a DataItem

    run.kill_when(lambda: file(".json") is not None)
    book = file(".json")
    assert book is not None
    assert stat.S_IMODE(book.stat().st_mode) == 0o600
    salts = [piece["salt"] for piece in json.loads(book.read_bytes())["pieces"]]
    run.kill_when(lambda: progress().commit is not None)
    for name in ("v0", "v1", "v2", "v3"):
        validator = Validator(
            wallet=wallet(name), endpoint=chain.endpoint, scorer=judge, home=tmp_path / name
        )
        threading.Thread(target=validator.review_loop, args=([campaign],), daemon=True).start()
    with (
        Client(chain.endpoint, home=home) as client,
        Contributor(wallet("contributor"), endpoint=chain.endpoint, home=home) as contributor,
        Sponsor(wallet("sponsor"), endpoint=chain.endpoint, home=home) as opener,
    ):
        chain.until(lambda: client.campaign(campaign).gold is not None)
        contributor.upload(campaign, write_texts(tmp_path / "texts", PIECES, skip=5))
        run.kill_when(lambda: bool(progress().hand_ins))
        run.kill_when(lambda: any(each.done for each in progress().hand_ins))
        run.kill_when(lambda: bool(progress().reveals))
        chance = random.Random(1)
        for _ in range(2):
            time.sleep(chance.uniform(0.2, 1.5))
            run.kill_when(lambda: True)

        def judged() -> bool:
            counts = client.campaign(campaign).counts
            return counts["submitted"] >= 2 * PIECES - 1 and counts["queued"] + counts["in_review"] == 0

        chain.until(judged, 600)
        opener.close_campaign(campaign)
        out, err = run.program.communicate(timeout=600)
        assert run.program.returncode == 0, err
        gold = client.campaign(campaign).gold
        assert gold is not None
        assert (gold.count, gold.returned, gold.taken) == (PIECES, PIECES, 0), (out, err, progress())
        told = json.loads(out)
        assert (told["pieces"], told["returned"], told["burned"]) == (PIECES, PIECES, 0)
        helped = client.account_items(wallet("second").text, campaign=campaign)
        assert len({item.content.chunk_root for item in helped}) == len(helped) >= PIECES - 1
        assert not any("duplicate" in item.reasons for item in helped)
        said = [each for batch in client.campaign_batches(campaign) for each in batch.gold]
        assert len(said) == len(helped), "every piece that was judged was said"
        assert {(each.completeness, each.relevance) for each in said} == {(True, True), (True, False)}
    assert run.kills == 7
    assert [piece["salt"] for piece in json.loads(book.read_bytes())["pieces"]] == salts
    for path in (sponsor.folder / "work").rglob("*.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert not any(salt in out + err for salt in salts)


def test_other_answers_than_those_bound(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path
) -> None:
    campaign = open_campaign(chain, wallet("sponsor"), home)
    folder = gold_folder(tmp_path / "gold")
    with Gold(wallet("sponsor"), endpoint=chain.endpoint, home=home) as gold:
        first = gold.commit(campaign, folder)
        assert gold.commit(campaign, folder).id == first.id, "once more is the same"
        (folder / "pass" / next((folder / "pass").iterdir()).name).write_text(
            "other text, long enough to be taken"
        )
        with pytest.raises(InputError, match="not the answers that the campaign was bound to"):
            gold.commit(campaign, folder)
        assert gold.retire_all(campaign) == PIECES
        assert gold.retire_all(campaign) == 0
    with Client(chain.endpoint, home=home) as client:
        found = client.campaign(campaign).gold
        assert found is not None
        assert found.returned == PIECES
    with (
        Sponsor(wallet("sponsor"), endpoint=chain.endpoint, home=home) as sponsor,
        Gold(wallet("sponsor"), endpoint=chain.endpoint, home=home) as gold,
    ):
        sponsor.close_campaign(campaign)
        over = gold.run(campaign, by=[wallet("second")])
        assert (over.pieces, over.handed_in, over.returned, over.burned) == (PIECES, 0, PIECES, 0)


def test_the_sponsor_does_not_hand_in_its_own_gold(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path
) -> None:
    campaign = open_campaign(chain, wallet("sponsor"), home)
    with Client(chain.endpoint, home=home) as client:

        async def run() -> None:
            runner = GoldRunner(wallet("sponsor"), client.asynchronous, campaign, by=[wallet("sponsor")])
            await runner.run(gold_folder(tmp_path / "gold"))

        from omnitensor.sdk.loops import LOOP

        with pytest.raises(InputError, match="known for gold"):
            LOOP.run(run())
        assert client.campaign(campaign).gold is None


def test_a_book_of_any_size_can_be_read_again(tmp_path: Path) -> None:
    """Its bonds would be lost otherwise."""
    home = Home(tmp_path)
    pieces = [
        Piece.new(f"{n:064x}", n % 8, f"/a/long/path/of/a/file/{n}.txt" + "x" * 40, None, None)
        for n in range(40_000)
    ]
    home.write(tmp_path / "book.json", GoldBook(1, "chain", pieces))
    assert home.read(tmp_path / "book.json", GoldBook, book_bytes_max) == GoldBook(1, "chain", pieces)


def test_wrong_inputs(chain: SmallChain, home: Path, tmp_path: Path, wallet: Wallets) -> None:
    campaign = str(open_campaign(chain, wallet("sponsor"), home, item_bytes_max=1_000_000))
    sponsor = Person(tmp_path / "sponsor", chain.endpoint).log_in("sponsor")
    folder = tmp_path / "gold"
    (folder / "pass").mkdir(parents=True)
    (folder / "pass" / "a.txt").write_text("a text that is the same in two files, more or less")
    (folder / "fail").mkdir()
    (folder / "fail" / "b.txt").write_text("a text that is the same in two files, more or less")
    (folder / "fail" / "empty.txt").touch()
    (folder / "fail" / "picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    said = sponsor.type("gold", "check", "--task-id", campaign, "--from", str(folder))
    errors = said.err.splitlines()
    assert (said.code, len(errors)) == (2, 3)
    for name, line in zip(("empty.txt", "picture.txt", "a.txt"), errors, strict=True):
        assert name in line
        assert line.startswith("error: ")
        assert line.endswith(")")
    for words, named in (
        (("commit",), "--from"),
        (("run",), "no gold yet"),
        (("run", "--from", str(folder), "--share", "0"), "share"),
        (("run", "--from", str(folder), "--hand-in-home", str(tmp_path / "none")), "login"),
        (("check", "--from", str(tmp_path / "none")), "no such file"),
        (("commit", "--from", str(folder), "--bond", "much"), "amount"),
    ):
        said = sponsor.type("gold", words[0], "--task-id", campaign, *words[1:])
        assert said.code == 2, said
        assert named in said.err
    for name in ("b.txt", "empty.txt", "picture.txt"):
        (folder / "fail" / name).unlink()
    told = sponsor.must("gold", "check", "--task-id", campaign, "--from", str(folder), "--json").json
    assert (told["pieces"], told["pass"]) == (1, 1)
    refused = sponsor.type(
        "gold", "commit", "--task-id", campaign, "--from", str(folder), "--bond", "9000000"
    )
    assert (refused.code, "OMNIT" in refused.err) == (1, True)
    with Client(chain.endpoint, home=home) as client:
        assert client.campaign(campaign).gold is None
