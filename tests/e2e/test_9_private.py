"""A private campaign on real processes: its reviewers and its sponsor read an item, it is accepted and paid, and nobody else can.

A program that gives keys is killed with kill -9 before it could, and started again.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from deploy.devnet import calls, process, samples
from deploy.devnet.people import Person
from deploy.devnet.process import Program
from omnitensor.protocol import sealing
from omnitensor.protocol.keys import parse_address
from omnitensor.protocol.types import Hash
from omnitensor.sdk import Wallet
from omnitensor.sdk.private import open_checked
from omnitensor.sdk.results import read
from omnitensor.sdk.results_private import PrivateItemInfo
from tests.e2e.conftest import REVIEWED_BY_SNIPPET
from tests.e2e.town import PATIENCE_S, Town, files_with

pytestmark = [pytest.mark.timeout(1_200), pytest.mark.xdist_group("e2e")]

MARK = "Whoever finds this sentence in a node's folder has found the leak."
CAMPAIGN = """\
title = "Pages that nobody else gets to see"
private = true
instructions = {instructions}
media = ["text/plain"]
licence = "PSF-2.0"
preset = "economy"
first_seats = 3
second_seats = 0
audit_bps = 0
unit_price = "4"
review_fee = "0.5"
item_bond = "0.2"
budget = "100"
item_bytes_max = 1048576
"""


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """What the tests below pass on to one another: they are one story in several steps."""
    return {}


def watch_of(town: Town, person: Person, *arguments: str) -> Program:
    """A process that gives keys."""
    line = process.command(process.CLI, "private", "watch", *arguments)
    log = town.folder / "logs" / "watch.log"
    log.parent.mkdir(exist_ok=True)
    return Program("private watch", line, log, person.variables)


def test_reviewers_register_keys_and_a_sponsor_opens_a_private_campaign(
    town: Town, told: dict[str, Any]
) -> None:
    for place, node in enumerate(town.nodes):
        if place != REVIEWED_BY_SNIPPET:
            person = Person(node.name, town.net.folder / "people" / node.name, node.endpoint)
            key = person.json("review", "key", "--api-key-file", str(town.api_keys[node.name]))
            assert key["registered"] == key["own"]
    path = town.folder / "private.toml"
    path.write_text(CAMPAIGN.format(instructions=json.dumps(samples.TEXT_INSTRUCTIONS)), encoding="utf-8")
    opened = town.person("sponsor").json("campaign", "open", "--yes", "--from", str(path))
    told["campaign"] = int(opened["campaign"])
    spec = town.first.call("campaign.get", campaign=told["campaign"])["spec"]
    assert len(spec["reading_key"]) == 64


def test_a_contributor_hands_in_what_stays_encrypted(town: Town, told: dict[str, Any]) -> None:
    contributor, campaign = town.person("contributor"), str(told["campaign"])
    good = next(each for each in samples.write_texts(town.folder / "private", 2) if each.good)
    with good.path.open("a", encoding="utf-8") as file:
        file.write(f"\n{MARK}\n")
    told["plain"] = good.path.read_bytes()
    told["watch"] = watch_of(town, contributor)
    told["watch"].start()
    done = contributor.try_cli("upload-data", "--task-id", campaign, "--file", str(good.path))
    assert done.returncode == 0, done.stderr
    assert "private watch --until-settled" in done.stderr, "it says what must keep running"
    (item,) = town.items(told["campaign"])
    told["item"] = item
    assert item["media_type"] == "text/plain"
    assert item["content"]["sha256"] != hashlib.sha256(told["plain"]).hexdigest()
    assert item["content"]["size"] == sealing.sealed_size(len(told["plain"]))


def test_keys_are_given_by_a_program_that_was_killed_in_between(town: Town, told: dict[str, Any]) -> None:
    contributor = town.person("contributor")
    told["watch"].kill()
    watch = watch_of(town, contributor, "--until-settled", str(told["campaign"]))
    watch.start()
    try:
        settled = calls.until(
            "the item is settled",
            lambda: next((item for item in town.items(told["campaign"]) if item["status"] == "paid"), None),
            2 * PATIENCE_S,
            every_s=0.5,
            on_wait=town.check,
        )
        calls.until("the watch has ended", lambda: watch.exit_code is not None, PATIENCE_S)
    finally:
        watch.kill()
    assert watch.exit_code == 0, watch.tail()
    assert int(settled["paid"]) > 0
    seats = town.first.call("review.batch", batch=settled["batch"], round=1)["seats"]
    assert {seat["state"] for seat in seats} == {"revealed"}
    drawn = {seat["validator"] for seat in seats}
    assert drawn == {node.address for n, node in enumerate(town.nodes) if n != REVIEWED_BY_SNIPPET}


def test_the_sponsor_reads_it(town: Town, told: dict[str, Any]) -> None:
    target = town.folder / "sponsored.txt"
    town.person("sponsor").cli("private", "read", str(told["item"]["item"]), "--to", str(target))
    assert target.read_bytes() == told["plain"]
    assert target.stat().st_mode & 0o777 == 0o600


def test_nobody_else_reads_it_whatever_they_have(town: Town, told: dict[str, Any]) -> None:
    """Not the validator that was not drawn, not another contributor, with every byte that any node has of it."""
    node = town.nodes[REVIEWED_BY_SNIPPET]
    item = str(told["item"]["item"])
    for person in (
        Person(node.name, town.net.folder / "people" / node.name, node.endpoint),
        town.person("second"),
    ):
        target = town.folder / f"stolen-by-{person.name}"
        tried = person.try_cli("private", "read", item, "--to", str(target))
        assert tried.returncode != 0
        assert "Traceback" not in tried.stderr
        assert not target.exists()
    info = read(PrivateItemInfo, town.first.call("private.item", item=int(item)), "private.item")
    sealed = town.folder / "all-bytes"
    code, stored = calls.get(town.first.endpoint, f"/content/{info.content.chunk_root}")
    assert code == 200
    sealed.write_bytes(stored)
    key = town.net.accounts["second"]
    wallet = Wallet(key, key.address)
    chain_id = town.first.call("chain.status")["chain_id"]
    reading = wallet.reading_key(chain_id)
    root = Hash(bytes.fromhex(info.content.chunk_root))
    context = sealing.sponsor_context(chain_id, info.campaign, root, parse_address(info.contributor))
    with pytest.raises(sealing.SealError):
        reading.unwrap(bytes.fromhex(info.sponsor), context)
    guessed = wallet.item_key(chain_id, info.campaign, hashlib.sha256(told["plain"]).digest())
    with pytest.raises(sealing.SealError):
        open_checked(sealed, town.folder / "stolen", guessed, info, chain_id)


def test_no_node_and_no_log_holds_a_plain_byte_of_it(town: Town) -> None:
    folders = [node.home for node in town.nodes] + [town.net.folder / "logs", town.folder / "logs"]
    assert files_with(folders, MARK.encode()) == []
    assert not list(town.person("contributor").folder.rglob("*.sealed"))
