"""Everything that may become of an item, in real processes: pictures, texts, sounds, films; a flag that a second round drops; a
wrong rejection that an appeal turns; a gold item that convicts who looks at nothing; and the data set that comes of it.

Reviewers are `otensor-cli review run` with a judge of their own, which reads what it thinks of a file from a table.
"""

from __future__ import annotations

import csv
import json
import random
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.devnet import calls, cast, process, samples
from deploy.devnet.net import Net, Node, Plan
from deploy.devnet.people import Person
from deploy.devnet.process import Program
from omnitensor.protocol.content import content_id_of
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.reviews import Flag
from omnitensor.protocol.types import NANO
from omnitensor.sdk.dataset import bundle, check
from tests.e2e.town import sum_fees
from tests.media.samples import video_file, wav

PATIENCE_S: Final = 900
PLAN: Final = Plan(
    chain_id="omnitensor-review",
    balances={"sponsor": 20_000 * NANO, "contributor": 200 * NANO, "nobody": 0},
    params={
        "report_commit_blocks": 600,
        "report_reveal_blocks": 600,
        "seat_accept_blocks": 600,
        "gold_reveal_blocks": 600,
        # Time to appeal on a slow machine.
        "challenge_blocks": 240,
        # No season ends meanwhile: its prizes would be in the balances that are added up.
        "season_epochs": 10_000,
        "evidence_epochs": 200,
        "unbonding_blocks": 7_200,
    },
)
CAMPAIGN: Final = {
    "title": "Everything about owls",
    "media": ["image/*", "text/plain", "audio/*", "video/*"],
    "preset": "standard",
    # All four validators, in both rounds: what becomes of an item hangs on the judges alone.
    "first_seats": 4,
    "second_seats": 4,
    "audit_bps": 0,
    "unit_price": "4",
    "review_fee": "0.5",
    "item_bond": "0.2",
    "budget": "400",
    "instructions": "Texts, pictures, sounds and films of owls.",
}
JUDGE: Final = """
import json, os
from pathlib import Path

NAMES = ("completeness", "accuracy", "relevance", "flags")

def score(item):
    table = json.loads(Path(os.environ["JUDGE_TABLE"]).read_text())
    second = item.path.parent.name.endswith("-2")
    rounds = table.get(item.content.chunk_root, {})
    return dict(zip(NAMES, rounds.get("2" if second else "1", table["else"])))
"""
GOOD: Final = (88, 90, 86, 0)
BAD: Final = (25, 20, 15, 0)
FLAGGED: Final = (88, 90, 86, int(Flag.PERSONAL_DATA))
LAZY: Final = 3
"""The validator at this place accepts whatever it gets."""
FLAGS: Final = 0
"""The one at this place flags an item that has nothing wrong."""

pytestmark = [pytest.mark.timeout(1_800), pytest.mark.xdist_group("e2e-review")]

Table = dict[str, dict[str, tuple[int, ...]] | tuple[int, ...]]


@dataclass
class Story:
    """The net, the files by what becomes of them, and who plays."""

    net: Net
    folder: Path
    files: dict[str, Path]
    people: dict[str, Person] = field(default_factory=dict)
    programs: list[Program] = field(default_factory=list)
    campaign: int = 0

    @property
    def node(self) -> Node:
        return self.net.nodes[0]

    def item(self, name: str) -> dict[str, Any]:
        """The item of a file, as the chain has it now."""
        root = content_id_of(self.files[name].read_bytes()).chunk_root.hex()
        page = self.node.call("item.list", campaign=self.campaign, limit=100)["items"]
        (found,) = (item for item in page if item["content"]["chunk_root"] == root)
        return dict(found)

    def until(self, what: str, ready: Callable[[], Any]) -> None:
        calls.until(what, ready, PATIENCE_S, every_s=0.5, on_wait=self.check)

    @contextmanager
    def nobody_reviews(self) -> Iterator[None]:
        """Holds the reviewers' processes, so that what was just asked of them can be looked at before they answer."""
        held = self.programs[: len(self.net.nodes)]
        for program in held:
            program.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for program in held:
                program.signal(signal.SIGCONT)

    def check(self) -> None:
        self.net.check()
        cast.check_reviewers(self.programs)

    def statuses(self) -> dict[str, str]:
        return {name: self.item(name)["status"] for name in self.files}

    def seats(self, batch: int, round_: int = 1) -> dict[str, dict[str, Any]]:
        """Seats of a batch by validator's address."""
        found = self.node.call("review.batch", batch=batch, round=round_)["seats"]
        return {seat["validator"]: seat for seat in found}


def write_files(folder: Path) -> dict[str, Path]:
    """A file for each thing that may happen."""
    folder.mkdir()
    digits = samples.write_images(folder / "digits", 1)
    texts = samples.write_texts(folder / "texts", 3)
    (folder / "owl.wav").write_bytes(wav(seconds=2))
    video_file(folder / "owl.mp4")
    return {
        "picture": digits[0].path,
        "sound": folder / "owl.wav",
        "film": folder / "owl.mp4",
        "text": texts[0].path,
        "flagged": texts[1].path,
        "wronged": texts[2].path,
        "gold": texts[3].path,
    }


def table_of(place: int, files: dict[str, Path]) -> Table:
    """What the validator at a place thinks of each file, by round."""
    if place == LAZY:
        return {"else": GOOD}
    roots = {name: content_id_of(path.read_bytes()).chunk_root.hex() for name, path in files.items()}
    table: Table = {"else": GOOD, roots["gold"]: {"1": BAD, "2": BAD}, roots["wronged"]: {"1": BAD}}
    if place == FLAGS:
        table[roots["flagged"]] = {"1": FLAGGED}
    return table


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    with Net.create(folder / "net", PLAN) as net:
        story = Story(net, folder, write_files(folder / "files"))
        try:
            net.start()
            net.wait_ready()
            with ThreadPoolExecutor(4) as threads:
                keys = list(threads.map(lambda node: cast.make_api_key(net, node), net.nodes))
                people = threads.map(lambda name: cast.log_in(net, name, net.nodes[0]), PLAN.balances)
                story.people = dict(zip(PLAN.balances, people, strict=True))
            judge = folder / "judge.py"
            judge.write_text(JUDGE, encoding="utf-8")
            for place, (node, key) in enumerate(zip(net.nodes, keys, strict=True)):
                table = folder / f"table-{place}.json"
                table.write_text(json.dumps(table_of(place, story.files)), encoding="utf-8")
                line = process.command(
                    process.CLI,
                    *("review", "run", "--auto", "--api-key-file", str(key), "--scorer", f"{judge}:score"),
                )
                person = Person(f"reviewer of {node.name}", folder / "reviewers" / node.name, node.endpoint)
                extra = person.variables | {"JUDGE_TABLE": str(table)}
                story.programs.append(Program(person.name, line, folder / f"{person.name}.log", extra))
            for program in story.programs:
                program.start()
            yield story
        finally:
            for program in story.programs:
                program.kill()
            for one in (*net.nodes, *story.programs):
                print(f"--- {one.name}\n{one.tail(2_500)}")


def test_files_of_every_kind_are_handed_in(story: Story) -> None:
    sponsor, contributor = story.people["sponsor"], story.people["contributor"]
    campaign = story.folder / "campaign.toml"
    campaign.write_text(
        "".join(f"{name} = {json.dumps(value)}\n" for name, value in CAMPAIGN.items()), encoding="utf-8"
    )
    story.campaign = int(sponsor.json("campaign", "open", "--from", str(campaign), "--yes")["campaign"])
    answers = story.folder / "answers.csv"
    with answers.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "completeness", "accuracy", "relevance"))
        writer.writerow((str(story.files["gold"]), 0, 0, 0))
    sponsor.cli("gold", "commit", "--task-id", str(story.campaign), "--answers", str(answers))
    line = process.command(process.CLI, "gold", "reveal", "--task-id", str(story.campaign), "--watch")
    keeper = Program("the sponsor's gold", line, story.folder / "gold.log", sponsor.variables)
    keeper.start()
    story.programs.append(keeper)
    given = [part for path in story.files.values() for part in ("--file", str(path))]
    contributor.cli("upload-data", "--task-id", str(story.campaign), *given)
    kinds = {name: story.item(name)["media_type"] for name in story.files}
    assert kinds == {
        "picture": "image/png",
        "sound": "audio/wav",
        "film": "video/mp4",
        **dict.fromkeys(("text", "flagged", "wronged", "gold"), "text/plain"),
    }


def test_an_appeal_turns_a_wrong_rejection(story: Story) -> None:
    contributor, address = story.people["contributor"], story.net.address("contributor")
    story.until("it is rejected", lambda: story.item("wronged")["status"] == "rejected")
    number = str(story.item("wronged")["item"])
    told = contributor.cli("check-status", "--task-id", str(story.campaign))
    assert "appeal up to height" in told
    bond = float(contributor.json("appeal", number, "--dry-run")["bond"])
    assert bond > 0
    before = int(story.node.call("account.get", address=address)["balance"])
    with story.nobody_reviews():
        contributor.cli("appeal", number)
        found = story.item("wronged")
        assert (found["status"], found["escalation"]) == ("escalated", "appeal")
        assert found["appeal"]["state"] == "open"
        assert int(found["appeal"]["bond"]) == bond * NANO
        assert int(story.node.call("account.get", address=address)["balance"]) < before
    story.until(
        "the second round accepts it", lambda: story.item("wronged")["status"] in ("accepted", "paid")
    )
    found = story.item("wronged")
    assert found["appeal"]["state"] == "turned"
    assert int(found["appeal"]["bond"]) == 0, "it returned"
    assert int(found["paid"]) > 0


def test_a_flag_of_one_goes_to_a_second_round_which_drops_it(story: Story) -> None:
    story.until(
        "the flagged item is accepted", lambda: story.item("flagged")["status"] in ("accepted", "paid")
    )
    found = story.item("flagged")
    steps = [step["status"] for step in found["history"]]
    assert steps[: steps.index("accepted") + 1] == [
        "revealed",
        "queued",
        "in_review",
        "escalated",
        "accepted",
    ]
    assert (found["escalation"], found["reasons"]) == ("flags", [])
    assert found["batch"] != found["second"]
    seats = story.seats(found["second"], 2)
    assert [seat["state"] for seat in seats.values()] == ["revealed"] * 4
    statuses = story.statuses()
    assert {statuses[name] for name in ("picture", "sound", "film", "text")} <= {"accepted", "paid"}
    assert statuses["gold"] == "rejected"


def test_gold_convicts_who_looked_at_nothing(story: Story) -> None:
    """It costs the lazy one its pay, a penalty and its standing; it shows in its own list of seats."""
    batch = story.item("gold")["batch"]
    (piece,) = story.node.call("review.batch", batch=batch, round=1)["gold"]
    assert (piece["item"], piece["voided"]) == (story.item("gold")["item"], False)
    lazy, *careful = (story.seats(batch)[story.net.nodes[place].address] for place in (LAZY, *range(LAZY)))
    assert lazy["gold_bps"] == -10_000
    assert (int(lazy["paid"]), int(lazy["penalty"]) > 0) == (0, True)
    for seat in careful:
        assert seat["gold_bps"] == 10_000
        assert (int(seat["paid"]) > 0, int(seat["penalty"])) == (True, 0)
        assert seat["quality_bps"] > lazy["quality_bps"]
    validator = story.net.nodes[LAZY]
    shown = story.people["nobody"].json("review", "list", "--all", "--wallet", validator.address)
    (own,) = (seat for seat in shown["assignments"] if (seat["batch"], seat["round"]) == (batch, 1))
    assert float(own["penalty"]) == int(lazy["penalty"]) / NANO
    assert own["paid"] in ("0", "0.0")
    standing = {node.address: node.call("stake.validator", address=node.address) for node in story.net.nodes}
    assert min(standing, key=lambda address: standing[address]["reputation"]) == validator.address
    rewards = story.node.call("account.rewards", address=validator.address)
    assert int(rewards["penalties"]) >= int(lazy["penalty"])


def test_everybody_is_paid_to_the_unit(story: Story) -> None:
    """Bonds are back, the appeal's too; only the bad item cost its share."""
    settled = {"gold": "rejected"} | {name: "paid" for name in story.files if name != "gold"}

    def done() -> bool:
        return story.statuses() == settled and all(int(story.item(name)["bond"]) == 0 for name in story.files)

    story.until("everything is settled", done)
    address = story.net.address("contributor")
    rewards = story.node.call("account.rewards", address=address)
    paid = sum(int(story.item(name)["paid"]) for name in story.files)
    extra, lost = int(rewards["earned"]["participation"]), int(rewards["penalties"])
    assert lost == int(0.2 * NANO) // 4
    balance = int(rewards["balance"])  # of the same answer
    assert balance == PLAN.balances["contributor"] + paid + extra - lost - sum_fees(story.node, address)


@pytest.fixture(scope="module")
def exports(story: Story) -> list[tuple[Path, dict[str, Any]]]:
    """The same campaign as two nodes give it."""
    story.people["sponsor"].cli("campaign", "close", str(story.campaign))
    found = []
    for node in story.net.nodes[1:3]:
        person = Person("sponsor", story.people["sponsor"].folder, node.endpoint)
        target = story.folder / f"export-{node.name}"
        told = person.json("dataset", "export", "--task-id", str(story.campaign), "--to", str(target))
        found.append((target, told))
    return found


def test_two_nodes_export_the_same_rows_and_both_hold_offline(
    story: Story, exports: list[tuple[Path, dict[str, Any]]]
) -> None:
    roots = {told["row_root"] for _, told in exports}
    assert len(roots) == 1
    assert {told["rows"] for _, told in exports} == {len(story.files) - 1}
    for program in story.programs:
        program.kill()
    story.net.kill()
    alone = Person("somebody", story.folder / "offline", "http://127.0.0.1:1")
    for target, told in exports:
        said = alone.cli("dataset", "verify", str(target), "--checkpoint", told["checkpoint"])
        assert roots.pop() in said if roots else told["row_root"] in said


def test_no_byte_of_an_export_can_be_changed(exports: list[tuple[Path, dict[str, Any]]]) -> None:
    """A sample of every file with its first and last byte, and every seventh of the manifest and of the chain's proof."""
    folder, told = exports[0]
    chance, checkpoint, tried = random.Random(9), told["checkpoint"], 0
    check(folder, checkpoint=checkpoint)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        structure = path.name in (bundle.MANIFEST, "chain")
        places = (
            range(0, len(whole), 7)
            if structure
            else {0, len(whole) - 1, *chance.choices(range(len(whole)), k=24)}
        )
        for place in places:
            changed = bytearray(whole)
            changed[place] ^= 1 << chance.randrange(8)
            path.write_bytes(changed)
            with pytest.raises(ProtocolError):
                check(folder, checkpoint=checkpoint)
            tried += 1
        path.write_bytes(whole)
    assert tried > 300
    check(folder, checkpoint=checkpoint)
