"""A private campaign through everything that draws reviewers, in real processes: a seat that is given back and filled again, gold
that convicts who looks at nothing, a second round, an appeal; each new reviewer is given the keys, and nobody else can read.

At the end no node is left, and the sponsor makes plain files of the data set with its key alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.devnet import calls, cast, process, samples
from deploy.devnet.net import Net, Node, Plan
from deploy.devnet.people import Person
from deploy.devnet.process import Program
from omnitensor.protocol import sealing
from omnitensor.protocol.keys import parse_address
from omnitensor.protocol.reviews import Flag
from omnitensor.protocol.types import NANO, Hash
from omnitensor.sdk import Wallet

PATIENCE_S: Final = 480
PLAN: Final = Plan(
    chain_id="omnitensor-private",
    validators=5,
    balances={"sponsor": 20_000 * NANO, "contributor": 200 * NANO, "helper": 200 * NANO},
    params={
        # A window ends as soon as everybody has done their part; each is long enough for a slow machine.
        "report_commit_blocks": 600,
        "report_reveal_blocks": 600,
        "seat_accept_blocks": 600,
        "grant_blocks": 300,
        "gold_reveal_blocks": 600,
        "challenge_blocks": 2_400,
        "evidence_epochs": 200,
        "unbonding_blocks": 7_200,
    },
)
CAMPAIGN: Final = {
    "title": "Pages for few eyes",
    "private": True,
    "media": ["text/plain"],
    "preset": "economy",
    # Four of five at first, then all five: one is left out, and is drawn for a seat that is given back.
    "first_seats": 4,
    "second_seats": 5,
    "agree_min_bps": 5_000,
    "audit_bps": 0,
    "unit_price": "4",
    "review_fee": "0.5",
    "item_bond": "0.2",
    "budget": "400",
}
JUDGE: Final = """
import hashlib, json, os
from pathlib import Path

NAMES = ("completeness", "accuracy", "relevance", "flags")

def score(item):
    table = json.loads(Path(os.environ["JUDGE_TABLE"]).read_text())
    second = item.path.parent.name.endswith("-2")
    rounds = table.get(hashlib.sha256(item.read_bytes()).hexdigest(), {})
    return dict(zip(NAMES, rounds.get("2" if second else "1", table["else"])))
"""
GOOD: Final = (88, 90, 86, 0)
BAD: Final = (25, 20, 15, 0)
FLAGGED: Final = (88, 90, 86, int(Flag.PERSONAL_DATA))
CAREFUL: Final = 3
"""Validators at the places below this one look at what they get; the others accept it."""

pytestmark = [pytest.mark.timeout(1_800), pytest.mark.xdist_group("e2e-private")]


@dataclass
class Story:
    """The net, the files by what becomes of them, and who plays."""

    net: Net
    folder: Path
    files: dict[str, Path]
    people: dict[str, Person] = field(default_factory=dict)
    api_keys: list[Path] = field(default_factory=list)
    reviewers: list[Program] = field(default_factory=list)
    helpers: list[Program] = field(default_factory=list)
    campaign: int = 0
    declined: int = -1
    """Place of the validator that gave its seat back before it was given any key."""
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def node(self) -> Node:
        return self.net.nodes[0]

    def wallet(self, place: int) -> Wallet:
        """The key that a validator reads with."""
        return Wallet.from_api_key(self.api_keys[place].read_text(encoding="utf-8").strip())

    def items(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.node.call("item.list", campaign=self.campaign, limit=100)["items"]
        return found

    def item(self, name: str) -> dict[str, Any]:
        """The item of a file, as the chain has it now: by its number, which was noted when it was handed in."""
        return dict(self.node.call("item.get", item=self.told[name]))

    def until(self, what: str, ready: Callable[[], Any]) -> Any:
        return calls.until(what, ready, PATIENCE_S, every_s=0.5, on_wait=self.check)

    def check(self) -> None:
        self.net.check()
        cast.check_reviewers([*self.reviewers, *self.helpers])

    def batch(self, number: int, round_: int = 1) -> dict[str, Any]:
        return dict(self.node.call("review.batch", batch=number, round=round_))

    def place_of(self, address: str) -> int:
        return [node.address for node in self.net.nodes].index(address)

    def run(self, name: str, who: Person, *arguments: str) -> Program:
        """A command that keeps running."""
        program = Program(
            name, process.command(process.CLI, *arguments), self.folder / f"{name}.log", who.variables
        )
        program.start()
        self.helpers.append(program)
        return program


def table_of(place: int, files: dict[str, Path]) -> dict[str, Any]:
    """What the validator at a place thinks of each file, by round."""
    if place >= CAREFUL:
        return {"else": GOOD}
    digests = {name: sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    return {
        "else": GOOD,
        digests["gold"]: {"1": BAD, "2": BAD},
        digests["wronged"]: {"1": BAD},
        digests["flagged"]: {"1": FLAGGED},
    }


def write_files(folder: Path) -> dict[str, Path]:
    texts = samples.write_texts(folder / "texts", 4)
    gold = folder / "gold" / "fail"
    gold.mkdir(parents=True)
    texts[3].path.rename(gold / texts[3].path.name)
    return {
        "text": texts[0].path,
        "flagged": texts[1].path,
        "wronged": texts[2].path,
        "gold": gold / texts[3].path.name,
    }


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("private")
    with Net.create(folder / "net", PLAN) as net:
        story = Story(net, folder, write_files(folder / "files"))
        try:
            net.start()
            net.wait_ready()
            with ThreadPoolExecutor(4) as threads:
                story.api_keys = list(threads.map(lambda node: cast.make_api_key(net, node), net.nodes))
                people = threads.map(lambda name: cast.log_in(net, name, net.nodes[0]), PLAN.balances)
                story.people = dict(zip(PLAN.balances, people, strict=True))
            yield story
        finally:
            for program in (*story.reviewers, *story.helpers):
                program.kill()
            for one in (*net.nodes, *story.reviewers, *story.helpers):
                print(f"--- {one.name}\n{one.tail(2_500)}")


def start_reviewers(story: Story) -> None:
    judge = story.folder / "judge.py"
    judge.write_text(JUDGE, encoding="utf-8")
    for place, (node, key) in enumerate(zip(story.net.nodes, story.api_keys, strict=True)):
        table = story.folder / f"table-{place}.json"
        table.write_text(json.dumps(table_of(place, story.files)), encoding="utf-8")
        line = process.command(
            process.CLI,
            *("review", "run", "--auto", "--api-key-file", str(key), "--scorer", f"{judge}:score"),
        )
        person = Person(f"reviewer of {node.name}", story.folder / "reviewers" / node.name, node.endpoint)
        extra = person.variables | {"JUDGE_TABLE": str(table)}
        story.reviewers.append(Program(person.name, line, story.folder / f"{person.name}.log", extra))
    for program in story.reviewers:
        program.start()


def test_a_seat_that_is_given_back_goes_to_another_reader(story: Story) -> None:
    """It was given no key yet, and is given none: what it may read is told by what it has, not by what it was."""

    def register(place: int) -> None:
        node = story.net.nodes[place]
        person = Person(node.name, story.net.folder / "people" / node.name, node.endpoint)
        person.cli("review", "key", "--api-key-file", str(story.api_keys[place]))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(register, range(len(story.net.nodes))))
    sponsor, contributor = story.people["sponsor"], story.people["contributor"]
    campaign = story.folder / "campaign.toml"
    campaign.write_text(
        "".join(f"{name} = {json.dumps(value)}\n" for name, value in CAMPAIGN.items()), encoding="utf-8"
    )
    story.campaign = int(sponsor.json("campaign", "open", "--from", str(campaign), "--yes")["campaign"])
    task = ("--task-id", str(story.campaign))
    gold = ("--from", str(story.folder / "files" / "gold"), "--share", "100")
    helper = ("--hand-in-home", str(story.people["helper"].folder))
    story.run("gold", sponsor, "gold", "run", *task, *gold, *helper)
    (piece,) = story.until("the gold is handed in", story.items)
    story.told["gold"] = piece["item"]
    names = ("text", "flagged", "wronged")
    given = [part for name in names for part in ("--file", str(story.files[name]))]
    handed_in = contributor.json("upload-data", *task, *given)["submissions"][0]["items"]
    by_file = {Path(each["file"]).name: each["item"] for each in handed_in}
    story.told |= {name: by_file[story.files[name].name] for name in names}

    def drawn() -> dict[str, Any] | None:
        number = story.item("text")["batch"]
        batch = story.batch(number) if number else None
        return batch if batch is not None and len(batch["seats"]) == CAMPAIGN["first_seats"] else None

    batch = story.until("seats are drawn", drawn)
    drawn_at_first = {story.place_of(seat["validator"]) for seat in batch["seats"]}
    story.declined = min(drawn_at_first)
    assert story.declined < CAREFUL
    node = story.net.nodes[story.declined]
    person = Person(node.name, story.net.folder / "people" / node.name, node.endpoint)
    person.cli(
        "review", "decline", str(batch["batch"]), "--api-key-file", str(story.api_keys[story.declined])
    )
    (left_out,) = set(range(len(story.net.nodes))) - drawn_at_first
    address = story.net.nodes[left_out].address

    def replaced() -> bool:
        return address in {seat["validator"] for seat in story.batch(batch["batch"])["seats"]}

    story.until("another is drawn", replaced)
    story.run("watch", contributor, "private", "watch")
    start_reviewers(story)
    story.until("the first round is over", lambda: story.item("text")["status"] in ("accepted", "paid"))
    seats = {
        story.place_of(seat["validator"]): seat["state"] for seat in story.batch(batch["batch"])["seats"]
    }
    assert seats.pop(story.declined) == "declined"
    assert seats == dict.fromkeys(set(range(5)) - {story.declined}, "revealed")
    assert story.item("wronged")["status"] == "rejected"
    assert "unavailable" not in story.item("wronged")["reasons"], "who judged it had its key"


def test_gold_convicts_who_looked_at_nothing(story: Story) -> None:
    """As in any campaign, though nobody but its readers could tell what it is."""
    story.until("the gold is judged", lambda: story.item("gold")["status"] == "rejected")
    found = story.item("gold")
    assert "unavailable" not in found["reasons"]
    batch = story.batch(found["batch"])
    (piece,) = batch["gold"]
    assert (piece["item"], piece["voided"]) == (found["item"], False)
    seats = {
        story.place_of(seat["validator"]): seat for seat in batch["seats"] if seat["state"] == "revealed"
    }
    assert any(place >= CAREFUL for place in seats)
    for place, seat in seats.items():
        lazy = place >= CAREFUL
        assert seat["gold_bps"] == (-10_000 if lazy else 10_000)
        assert (int(seat["paid"]) == 0, int(seat["penalty"]) > 0) == (lazy, lazy)
    gold = story.node.call("campaign.get", campaign=story.campaign)["gold"]
    assert (gold["count"], gold["returned"], gold["taken"]) == (1, 1, 0)


def test_a_second_round_reads_it_too(story: Story) -> None:
    story.until(
        "the flagged item is accepted", lambda: story.item("flagged")["status"] in ("accepted", "paid")
    )
    found = story.item("flagged")
    assert (found["escalation"], found["reasons"]) == ("flags", [])
    seats = story.batch(found["second"], 2)["seats"]
    assert [seat["state"] for seat in seats] == ["revealed"] * 5


def test_an_appeal_turns_a_wrong_rejection(story: Story) -> None:
    story.people["contributor"].cli("appeal", str(story.told["wronged"]))
    story.until(
        "the second round accepts it", lambda: story.item("wronged")["status"] in ("accepted", "paid")
    )
    found = story.item("wronged")
    assert (found["escalation"], found["appeal"]["state"]) == ("appeal", "turned")
    seats = story.batch(found["second"], 2)["seats"]
    assert [seat["state"] for seat in seats] == ["revealed"] * 5


def test_who_was_not_drawn_reads_nothing_with_all_that_the_chain_keeps(story: Story) -> None:
    """A reader of other items, a validator with a key that is registered, with every wrapped key of this one in any block."""
    found = story.item("text")
    root = Hash(bytes.fromhex(found["content"]["chunk_root"]))
    history = story.node.call("tx.by_address", address=found["contributor"], limit=100)["transactions"]
    orders = [
        story.node.call("tx.get", id=line["id"])["body"] for line in history if line["kind"] == "keys_grant"
    ]
    wraps = {
        grant["validator"]: bytes.fromhex(grant["wrapped"])
        for order in orders
        for grant in order["grants"]
        if (order["batch"], grant["item"]) == (found["batch"], found["item"])
    }
    assert {story.place_of(address) for address in wraps} == set(range(5)) - {story.declined}
    keys = set()

    def context_of(address: str) -> bytes:
        owner, number = parse_address(found["contributor"]), found["item"]
        return sealing.seat_context(
            PLAN.chain_id, story.campaign, root, owner, found["batch"], number, parse_address(address)
        )

    stranger = story.wallet(story.declined).reading_key(PLAN.chain_id)
    for address, wrapped in wraps.items():
        reader = story.wallet(story.place_of(address)).reading_key(PLAN.chain_id)
        keys.add(reader.unwrap(wrapped, context_of(address)))
        for claimed in (address, story.net.nodes[story.declined].address):
            with pytest.raises(sealing.SealError):
                stranger.unwrap(wrapped, context_of(claimed))
    assert len(keys) == 1, "each drawn reviewer was given the same key"
    node, target = story.net.nodes[story.declined], story.folder / "stolen"
    person = Person(node.name, story.net.folder / "people" / node.name, node.endpoint)
    tried = person.try_cli(
        *("private", "read", str(found["item"]), "--to", str(target)),
        *("--api-key-file", str(story.api_keys[story.declined])),
    )
    assert (tried.returncode != 0, target.exists(), "Traceback" in tried.stderr) == (True, False, False)


def test_the_sponsor_needs_no_node_to_read_its_data_set(story: Story) -> None:
    sponsor, made = story.people["sponsor"], story.folder / "export"
    told = sponsor.json(
        "dataset", "export", "--task-id", str(story.campaign), "--to", str(made), "--unsettled"
    )
    assert told["rows"] == 3
    for program in (*story.reviewers, *story.helpers):
        program.kill()
    story.net.kill()
    alone = Person("sponsor", sponsor.folder, "http://127.0.0.1:1")
    alone.cli("dataset", "verify", str(made), "--checkpoint", told["checkpoint"])
    plain = story.folder / "plain"
    assert alone.json("dataset", "decrypt", str(made), "--to", str(plain))["items"] == 3
    lines = [json.loads(line) for line in (plain / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    read = {line["item"]: (plain / line["file"]).read_bytes() for line in lines}
    assert read == {
        story.told[name]: story.files[name].read_bytes() for name in ("text", "flagged", "wronged")
    }
    assert all(line["facts"]["media_type"] == "text/plain" for line in lines)
    stranger = Person("helper", story.people["helper"].folder, "http://127.0.0.1:1")
    tried = stranger.try_cli("dataset", "decrypt", str(made), "--to", str(story.folder / "stolen-set"))
    assert tried.returncode != 0
    assert not (story.folder / "stolen-set").exists()
