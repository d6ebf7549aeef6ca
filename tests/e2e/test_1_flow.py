"""The whole way of data on four processes: the documentation's commands and snippet, word for word, on texts and on pictures.

In the middle of it a validator is killed with kill -9 and started again; it catches up and takes part.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.devnet import calls, cast, process, samples
from deploy.devnet.campaigns import IMAGES, TEXTS
from deploy.devnet.people import Person
from omnitensor.protocol.content import content_id_of
from omnitensor.protocol.keys import format_secret
from omnitensor.protocol.types import NANO
from tests.e2e.conftest import REVIEWED_BY_SNIPPET
from tests.e2e.town import PATIENCE_S, Town, sum_fees
from tests.shared_data import shared_path

COMMANDS = """\
otensor-cli login --key <your_private_key>
otensor-cli upload-data --task-id <task_id> --file <data_file_path>
otensor-cli check-status --task-id <task_id>
otensor-cli check-rewards --wallet <wallet_address>
"""
SNIPPET = """\
from omnitensor.sdk import Validator

# Initialize validator session
validator = Validator(api_key='YOUR_API_KEY')

# Fetch the data batch to validate
data_batch = validator.get_data_batch(task_id='1234')

# Perform validation checks (e.g., accuracy, format)
validation_results = validator.validate(data_batch)

# Submit validation report to OmniTensor
validator.submit_results(validation_results)
"""

pytestmark = [pytest.mark.timeout(2_400), pytest.mark.xdist_group("e2e")]


def typed(line: str, **values: str) -> list[str]:
    """A documented command's arguments, with the placeholders filled in."""
    for name, value in values.items():
        line = line.replace(f"<{name}>", shlex.quote(value))
    assert "<" not in line
    program, *arguments = shlex.split(line)
    assert program == "otensor-cli"
    return arguments


def test_commands_are_the_documented_ones() -> None:
    document = shared_path("seed/data-collection-and-validation.txt").read_text(encoding="utf-8")
    shown = [line for line in document.splitlines() if line.startswith("otensor-cli ")]
    assert shown == COMMANDS.splitlines()
    for line in SNIPPET.splitlines():
        assert line in document.splitlines()


@pytest.fixture(scope="module")
def told(town: Town) -> dict[str, Any]:
    """What the tests below pass on to one another: they are one story in several steps."""
    return {"before": {name: town.balance(name) for name in town.net.accounts}}


def test_sponsor_opens_two_campaigns(town: Town, told: dict[str, Any]) -> None:
    sponsor = town.person("sponsor")
    told["texts"] = cast.open_campaign(sponsor, TEXTS, town.folder / "texts.toml")
    told["images"] = cast.open_campaign(sponsor, IMAGES, town.folder / "images.toml")
    assert told["texts"] == 1234, "the number in the documentation's snippet"
    escrow = town.first.call("campaign.get", campaign=1234)["escrow"]
    assert sum(int(amount) for amount in escrow.values()) == int(TEXTS.budget) * NANO


def test_snippet_waits_for_its_batch(town: Town, told: dict[str, Any]) -> None:
    node = town.nodes[REVIEWED_BY_SNIPPET]
    code = SNIPPET.replace("YOUR_API_KEY", town.api_keys[node.name].read_text().strip())
    told["snippet"] = subprocess.Popen(
        [sys.executable, "-c", code],
        env=process.environment(
            {"OMNITENSOR_RPC": node.endpoint, "OMNITENSOR_HOME": str(town.folder / "snippet")}
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_contributor_submits_with_the_documented_commands(town: Town, told: dict[str, Any]) -> None:
    login, upload, status, _ = COMMANDS.splitlines()
    contributor = town.stranger("contributor")
    town.people["contributor"] = contributor
    texts = samples.write_texts(town.folder / "texts", 4)
    images = samples.write_images(town.folder / "images", 4)
    told["good"] = {chunk_root(each.path): each.good for each in (*texts, *images)}
    contributor.cli(*typed(login, your_private_key=format_secret(town.net.accounts["contributor"])))
    # One file, then the rest of the folder's: a path is a file or a folder.
    first, *rest = texts
    moved = first.path.rename(town.folder / first.path.name)
    contributor.cli(*typed(upload, task_id="1234", data_file_path=str(moved)))
    contributor.cli(*typed(upload, task_id="1234", data_file_path=str(rest[0].path.parent)))
    contributor.cli(*typed(upload, task_id=str(told["images"]), data_file_path=str(images[0].path.parent)))
    assert "1234" in contributor.cli(*typed(status, task_id="1234"))
    assert len(town.items(1234)) == len(texts)
    assert len(town.items(told["images"])) == len(images)


def test_exact_copy_of_somebody_elses_file(town: Town, told: dict[str, Any]) -> None:
    """The same bytes by another contributor, later: nothing can be earned with them."""
    copy = town.folder / "my-own-work.txt"
    copy.write_bytes((town.folder / "assignment.txt").read_bytes())
    second = town.person("second")
    tried = second.try_cli("upload-data", "--task-id", "1234", "--file", str(copy))
    told["copy_refused"] = tried.returncode != 0
    if told["copy_refused"]:
        assert "Traceback" not in tried.stderr
        assert len(town.items(1234)) == 6


def test_killed_validator_comes_back_and_takes_part(town: Town, told: dict[str, Any]) -> None:
    """kill -9 once seats are drawn, while reports are being committed."""
    calls.until(
        "seats are drawn", lambda: any(item.get("batch") for item in all_items(town, told)), PATIENCE_S
    )
    victim = town.nodes[1]
    victim.kill()
    reached = town.wait_blocks(town.first, 3)
    victim.start()
    calls.until("it catches up", lambda: victim.height() >= reached, PATIENCE_S, on_wait=town.check)
    told["victim"] = victim


def test_snippet_reviewed(town: Town, told: dict[str, Any]) -> None:
    output, _ = told["snippet"].communicate(timeout=1_800)
    assert told["snippet"].returncode == 0, output
    node = town.nodes[REVIEWED_BY_SNIPPET]
    assert "revealed" in review_seats(town, told)[node.address]
    # The snippet reviews one batch. The validator's seats of other batches would be waited for until their time is over.
    town.reviewers[node.name] = cast.start_reviewer(
        town.net, node, town.api_keys[node.name], REVIEWED_BY_SNIPPET
    )


def test_everything_is_judged_and_paid(town: Town, told: dict[str, Any]) -> None:
    expected = len(told["good"]) + (not told["copy_refused"])

    def settled() -> list[dict[str, Any]] | None:
        items = all_items(town, told)
        done = len(items) == expected and all(
            item["status"] in ("paid", "rejected", "undecided") and item["bond"] == "0" for item in items
        )
        return items if done else None

    items = calls.until("all items are settled", settled, 1_800, every_s=0.5, on_wait=town.check)
    assert items is not None
    town.reviewers.pop(town.nodes[REVIEWED_BY_SNIPPET].name).kill()
    told["items"] = items
    own = [item for item in items if item["contributor"] == town.net.address("contributor")]
    for item in own:
        good = told["good"][item["content"]["chunk_root"]]
        assert item["status"] == ("paid" if good else "rejected"), item
        assert bool(item["reasons"]) is not good, item
        assert (int(item["paid"]) > 0) is good, item
        steps = [step["status"] for step in item["history"]]
        assert steps[-1] == item["status"]
        assert [step["height"] for step in item["history"]] == sorted(
            step["height"] for step in item["history"]
        )
    for item in items:
        if item not in own:
            assert (item["status"], item["reasons"]) == ("rejected", ["duplicate"]), item


def test_killed_validator_took_part(town: Town, told: dict[str, Any]) -> None:
    address = told["victim"].address
    seats = review_seats(town, told)
    assert "revealed" in seats[address], seats

    def leads() -> bool:
        lines = town.first.call("chain.blocks", limit=100)["blocks"]
        return any(line["proposer"] == address for line in lines)

    calls.until("it leads blocks that become final", leads, PATIENCE_S)


def test_bytes_came_from_peers(town: Town) -> None:
    """Files were uploaded to the first node alone; the reviewers' own nodes fetched them."""
    for node in town.nodes[2:]:
        match = re.search(
            r"^omnitensor_content_fetched_bytes_total ([0-9.e+]+)$", node.metrics(), re.MULTILINE
        )
        assert match is not None
        assert float(match[1]) > 1_000, node.name


def test_rewards_are_what_was_paid(town: Town, told: dict[str, Any]) -> None:
    contributor, address = town.people["contributor"], town.net.address("contributor")
    rewards = COMMANDS.splitlines()[3]
    assert address in contributor.cli(*typed(rewards, wallet_address=address))
    answer = json.loads(contributor.cli(*typed(rewards, wallet_address=address), "--json"))
    assert answer
    paid = sum(int(item["paid"]) for item in told["items"] if item["contributor"] == address)
    before = town.balance("contributor")
    found = town.first.call("account.rewards", address=address)
    assert int(found["earned"]["contribution"]) == paid
    assert before <= int(found["balance"]) <= town.balance("contributor"), "something may be paid meanwhile"


def test_balances_add_up(town: Town, told: dict[str, Any]) -> None:
    """What each account has now is what it had and what the chain says it got and paid, to the unit."""
    address = town.net.address("contributor")
    fees = sum_fees(town.first, address)
    rewards = town.first.call("account.rewards", address=address)
    bonds_lost, extra = int(rewards["penalties"]), int(rewards["earned"]["participation"])
    paid = sum(int(item["paid"]) for item in told["items"] if item["contributor"] == address)
    # The balance is of the same answer: something may be paid between two.
    assert int(rewards["balance"]) == told["before"]["contributor"] + paid + extra - fees - bonds_lost
    for node in town.nodes:
        earned = town.first.call("account.rewards", address=node.address)["earned"]
        assert int(earned.get("review", 0)) > 0, node.name


def test_reports_are_the_same_from_every_node(town: Town, told: dict[str, Any]) -> None:
    """Money to the unit, agreement, and what became of items: each node is asked, and none is believed more than another."""
    address = town.net.address("contributor")
    paid = sum(int(item["paid"]) for item in told["items"] if item["contributor"] == address)
    answers: list[Any] = []
    for node in town.nodes:
        looker = Person("looker", town.folder / "strangers" / "looker", node.endpoint)
        spends = [looker.json("campaign", "spend", str(told[name])) for name in ("texts", "images")]
        for spend in spends:
            parts = (*spend["held"].values(), spend["contributors"], spend["reviewers"], spend["returned"])
            assert nano(spend["funded"]) + nano(spend["penalties"]) == sum(map(nano, parts)), spend
            assert nano(spend["reviewers"]) == nano(spend["first_rounds"]) + nano(spend["second_rounds"])
        assert sum(nano(spend["contributors"]) for spend in spends) == paid
        agreement = looker.json("campaign", "agreement", str(told["texts"]))
        verdict = next(each for each in agreement["agreements"] if each["name"] == "verdict")
        assert verdict["units"] >= 4
        assert verdict["ac1"]["value"] > 0.5, "honest reviewers agree beyond chance"
        mine = looker.json("report", "contributor", "--wallet", address)
        assert nano(mine["total"]["paid"]) == paid
        assert mine["total"]["waiting"] == 0
        theirs = [
            looker.json("report", "reviewer", "--validator", each.address)["total"] for each in town.nodes
        ]
        earned = [
            town.first.call("account.rewards", address=each.address)["earned"]["review"]
            for each in town.nodes
        ]
        assert [nano(each["paid"]) for each in theirs] == list(map(int, earned))
        answers.append((spends, agreement, mine["items"], theirs))
    assert all(answer == answers[0] for answer in answers)
    (line,) = looker.cli("campaign", "watch", str(told["texts"]), "--updates", "1").splitlines()
    assert json.loads(line)["spend"] == answers[0][0][0]


def nano(text: str) -> int:
    """nanoOMNIT of decimal text in OMNIT."""
    whole, _, fraction = text.partition(".")
    return int(whole) * NANO + int(fraction.ljust(9, "0") or "0")


def all_items(town: Town, told: dict[str, Any]) -> list[dict[str, Any]]:
    return town.items(told["texts"]) + town.items(told["images"])


def review_seats(town: Town, told: dict[str, Any]) -> dict[str, set[str]]:
    """States of seats by validator, over all batches of both campaigns."""
    found: dict[str, set[str]] = {node.address: set() for node in town.nodes}
    for batch in {item["batch"] for item in all_items(town, told) if item.get("batch")}:
        for seat in town.first.call("review.batch", batch=batch, round=1)["seats"]:
            found[seat["validator"]].add(seat["state"])
    return found


def chunk_root(path: Path) -> str:
    return content_id_of(path.read_bytes()).chunk_root.hex()
