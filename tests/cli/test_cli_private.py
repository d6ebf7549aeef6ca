"""A private campaign at the command line: opened, handed in to, judged, read by its sponsor, exported, checked and decrypted."""

from __future__ import annotations

import json
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from consensus.work.fingerprint import distance, fingerprint
from omnitensor.sdk import Validator, Wallet
from omnitensor.sdk.dataset import bundle, tables
from tests.cli.people import Person
from tests.sdk.samples import write_texts
from tests.sdk.small_chain import FAST, SmallChain
from tests.sdk.test_dataset import rewrite_table, rewritten

pytestmark = [pytest.mark.xdist_group("cli-private"), pytest.mark.timeout(1_800)]

READERS = ("v0", "v1", "v2")
FILE = """\
title = "Pages for few eyes"
instructions = "Pages of technical documentation."
private = true
preset = "economy"
second_seats = 0
audit_bps = 0
unit_price = "4"
review_fee = "0.5"
item_bond = "0.2"
budget = "100"
"""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallChain]:
    found = SmallChain(
        tmp_path_factory.mktemp("node"), replace(FAST, report_commit_blocks=4_000, grant_blocks=2_000)
    )
    yield found
    found.stop()


def test_a_private_campaign_from_its_file_to_its_plain_data_set(
    chain: SmallChain, wallet: Callable[[str], Wallet], tmp_path: Path
) -> None:
    people = {
        name: Person(tmp_path / name, chain.endpoint).log_in(name)
        for name in ("sponsor", "contributor", "second", *READERS)
    }
    sponsor, contributor = people["sponsor"], people["contributor"]
    for name in READERS:
        assert "no reading key" in people[name].must("review", "key", "--show").out
        said = people[name].must("review", "key", "--json").json
        assert said["registered"] == said["own"]
        assert said["own"] in people[name].must("review", "key", "--show").out
    (tmp_path / "campaign.toml").write_text(FILE, encoding="utf-8")
    opened = sponsor.must(
        "campaign", "open", "--yes", "--from", str(tmp_path / "campaign.toml"), "--json"
    ).json
    number = str(opened["campaign"])
    assert "private" in contributor.must("campaign", "show", number).out

    texts = write_texts(tmp_path / "texts", 2)
    nearly = tmp_path / "texts" / "nearly.txt"
    nearly.write_text(texts[0].read_text(encoding="utf-8") + "\nOne sentence more.\n", encoding="utf-8")
    contents = sorted(path.read_bytes() for path in texts)
    said = contributor.must("upload-data", "--task-id", number, "--file", str(tmp_path / "texts"))
    assert f"otensor-cli private watch --until-settled {number}" in said.err
    chain.until(lambda: len(contributor.must("private", "list", "--json").json["seats"]) == len(READERS))
    assert "3" in contributor.must("private", "list").out
    assert "3 reviewers wait for keys of yours" in contributor.must("check-status", "--task-id", number).out
    assert people["second"].must("private", "give").out.startswith("nothing was given")
    assert "9 keys given to 3 seats" in contributor.must("private", "give").out
    assert contributor.must("private", "list").out.startswith("no seat waits")
    threads = [
        threading.Thread(
            target=Validator(
                wallet=wallet(name), endpoint=chain.endpoint, home=people[name].folder
            ).review_loop,
            args=([number],),
            kwargs={"batches": 1},
            daemon=True,
        )
        for name in READERS
    ]
    for thread in threads:
        thread.start()
    said = contributor.must("private", "watch", "--until-settled", number, "--json")
    assert said.json == {"keys": 0}
    for thread in threads:
        thread.join(100)
    found = contributor.must("check-status", "--task-id", number, "--json").json["items"]
    (repeated,) = [item for item in found if item["status"] == "rejected"]
    assert "duplicate" in repeated["reasons"], "the reviewers' own programs compared what no node can read"
    items = [item for item in found if item is not repeated]
    assert [item["status"] for item in items] == ["paid"] * 2

    one, target = str(items[0]["item"]), tmp_path / "one"
    assert sponsor.must("private", "read", one, "--to", str(target)).out
    assert target.read_bytes() in contents
    again = sponsor.type("private", "read", one, "--to", str(target))
    assert (again.code, again.err.count("\n")) == (2, 1), "it overwrites nothing, and says so in a line"
    for name in ("second", "v0"):
        refused = people[name].type("private", "read", one, "--to", str(tmp_path / "stolen"))
        assert refused.code != 0
        assert refused.err.count("\n") == 1
        assert not (tmp_path / "stolen").exists()
    _check_duplicates(chain, people, number, texts[0], items)
    _check_data_set(people, number, contents, tmp_path)


def _check_duplicates(
    chain: SmallChain, people: dict[str, Person], number: str, text: Path, items: list[dict[str, Any]]
) -> None:
    """Somebody else hands the same file in: it looks different, is found by the sponsor, and rejected."""
    people["second"].must("upload-data", "--task-id", number, "--file", str(text))
    sponsor = people["sponsor"]
    assert sponsor.must("private", "duplicates", "--task-id", number, "--json").json["rejected"] is False
    (found,) = sponsor.must("private", "duplicates", "--task-id", number, "--json").json["duplicates"]
    assert found["of"] in [item["item"] for item in items]
    assert found["item"] not in [item["item"] for item in items]
    assert sponsor.type("private", "duplicates", "--task-id", "99999", "--watch").code == 1
    stranger = people["v0"].type("private", "duplicates", "--task-id", number)
    assert stranger.code == 2
    assert str(found["of"]) in sponsor.must("private", "duplicates", "--task-id", number, "--reject").out

    (item,) = people["second"].must("check-status", "--task-id", number, "--json").json["items"]
    assert (item["status"], item["reasons"]) == ("rejected", ["duplicate"]) or item["status"] == "in_review"
    assert sponsor.must("private", "duplicates", "--task-id", number, "--reject").code == 0, (
        "again, at no harm"
    )
    assert not list((sponsor.folder / "work" / "private").rglob("*.sealed"))


def _check_data_set(people: dict[str, Person], number: str, contents: list[bytes], folder: Path) -> None:
    """Anybody exports and verifies what is encrypted; the sponsor alone makes plain files of it."""
    made = folder / "pages"
    said = people["second"].must("dataset", "export", "--task-id", number, "--to", str(made), "--json").json
    assert said["rows"] == 2
    verified = people["second"].must(
        "dataset", "verify", str(made), "--checkpoint", said["checkpoint"], "--json"
    )
    assert verified.json["verified"] is True
    for text in contents:
        assert not [path for path in made.rglob("*") if path.is_file() and text[:100] in path.read_bytes()]
    assert "otensor-cli dataset decrypt" in (made / "README.md").read_text(encoding="utf-8")
    plain = folder / "plain"
    for person in people.values():
        person.endpoint = (
            "http://127.0.0.1:1"  # nobody serves there: the folder and the key are all that it takes
        )
    refused = people["second"].type("dataset", "decrypt", str(made), "--to", str(plain))
    assert refused.code == 2
    assert "encrypted for another key" in refused.err
    assert not plain.exists()
    told = people["sponsor"].must("dataset", "decrypt", str(made), "--to", str(plain), "--near-bits", "128")
    assert "1 of them nearly repeat an earlier one" in told.out
    lines = [json.loads(line) for line in (plain / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted((plain / line["file"]).read_bytes() for line in lines) == contents
    assert [line["media_type"] for line in lines] == ["text/plain"] * 2
    for line in lines:
        assert line["sha256"] == sha256((plain / line["file"]).read_bytes()).hexdigest()
        assert line["facts"]["characters"] == len((plain / line["file"]).read_text(encoding="utf-8"))
        assert line["facts"]["language"] == "en"
    report = json.loads((plain / "near-duplicates.json").read_text(encoding="utf-8"))
    assert (report["bits_max"], report["compared"], report["not_compared"]) == (128, 2, 0)
    (near,) = report["near"]
    assert (near["of"], near["item"]) == tuple(sorted(line["item"] for line in lines))
    assert near["distance"] == distance(*map(fingerprint, contents)) <= 128, "as nodes take them"
    again = people["sponsor"].must("dataset", "decrypt", str(made), "--to", str(folder / "again"), "--json")
    assert again.json["near_duplicates"] == 0, "two pages of one subject, and not near at 40 bits"
    _check_forgeries(people["second"], made, said["checkpoint"])
    for path in plain.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert stat.S_IMODE(plain.stat().st_mode) == 0o700
    assert not list(plain.glob(".*"))
    assert not list(folder.glob("*.partial"))


def _check_forgeries(person: Person, made: Path, checkpoint: str) -> None:
    """Keys of items can't be changed, left out or taken from another item, though all hashes fit."""
    path = made / bundle.PRIVATE_PROOFS
    rows = list(tables.rows_in(path))
    assert [row["item"] for row in rows] == sorted(row["item"] for row in rows)
    value = bytes([*rows[0]["value"][:-1], rows[0]["value"][-1] ^ 1])
    for forged in (
        [rows[0] | {"value": value}, *rows[1:]],
        rows[1:],
        [rows[1] | {"item": rows[0]["item"]}, *rows[1:]],
        None,
    ):
        copy = made.with_name("forged")
        shutil.copytree(made, copy)
        if forged is None:
            (copy / bundle.PRIVATE_PROOFS).unlink()
        else:
            rewrite_table(copy / bundle.PRIVATE_PROOFS, tables.proof_schema("item"), lambda _: forged)  # noqa: B023
        rewritten(copy)
        said = person.type("dataset", "verify", str(copy), "--checkpoint", checkpoint)
        assert (said.code, said.err.count("\n")) == (1, 1), said
        shutil.rmtree(copy)
    assert person.type("dataset", "verify", str(made), "--checkpoint", checkpoint).code == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("private", "read", "99999", "--to", "x"), 1, "no such item"),
        (("private", "read", "0", "--to", "x"), 2, "0"),
        (("private", "read", "1"), 2, "--to"),
        (("private", "duplicates", "--task-id", "99999"), 1, "no such campaign"),
        (("private", "give", "--api-key-file", "/nowhere"), 2, "/nowhere"),
        (("review", "key"), 1, "validator"),
        (("dataset", "decrypt", "/tmp", "--to", "x"), 1, "manifest"),
    ],
)
def test_what_can_not_be_is_said_in_one_line(
    chain: SmallChain, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    person = Person(tmp_path / "home", chain.endpoint).log_in("second")
    found = person.type(*[word if word != "x" else str(tmp_path / "x") for word in words])
    assert found.code == code, found
    assert found.err.count("\n") == 1 or code == 2, found
    assert said in found.err
    assert not (tmp_path / "x").exists()
