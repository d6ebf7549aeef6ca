"""Governing by typing: propose by options and by file, deposit, vote, look; and what is wrong with what was typed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from omnitensor.protocol.keys import format_address
from omnitensor.protocol.types import NANO, Amount
from omnitensor.sdk import Client, ProposalDraft, VoteOption, Wallet
from omnitensor.sdk.proposals import PaymentDraft
from tests.cli.people import Person
from tests.sdk.small_chain import FAST, SmallChain
from tests.state.chain_fixtures import key

pytestmark = pytest.mark.xdist_group("cli-governance")
GOVERNED = replace(
    FAST, proposal_deposit_min=Amount(8 * NANO), proposal_voting_blocks=200, proposal_timelock_blocks=2
)
VALIDATORS = ("v0", "v1", "v2", "v3")


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallChain]:
    found = SmallChain(tmp_path_factory.mktemp("governed"), GOVERNED)
    yield found
    found.stop()


@pytest.fixture
def people(governed: SmallChain, tmp_path: Path) -> dict[str, Person]:
    return {
        name: Person(tmp_path / name, governed.endpoint).log_in(name)
        for name in ("sponsor", "second", *VALIDATORS)
    }


def text(name: str) -> str:
    return format_address(key(name).address)


def test_from_a_file_to_a_changed_chain(
    governed: SmallChain, people: dict[str, Person], tmp_path: Path
) -> None:
    sponsor = people["sponsor"]
    file = tmp_path / "fees.toml"
    file.write_text(
        'title = "Dearer blocks"\nsummary = "They are full."\ndeposit = "2"\n'
        '[parameters]\nbase_fee_min = 3\nproposal_deposit_min = "9 OMNIT"\nreputation_decay = "5/6"\n',
        encoding="utf-8",
    )
    made = sponsor.must("governance", "propose", "--file", str(file), "--json").json
    number = str(made["proposal"])
    assert made["kind"] == "parameters"
    shown = sponsor.must("governance", "show", number, "--json").json
    assert (shown["status"], shown["deposit"], shown["deposit_wanted"]) == ("deposit", "2", "8")
    refused = people["v0"].type("governance", "vote", number, "yes", "--json")
    assert (refused.code, json.loads(refused.out)["error"]["code"]) == (1, "proposal_not_voting")
    people["second"].must("governance", "deposit", number)
    for name, option in zip(VALIDATORS, ("no", "yes", "yes", "abstain"), strict=True):
        people[name].must("governance", "vote", number, option)
    said = people["v0"].must("governance", "vote", number, "yes").out
    assert f"votes yes on proposal {number}" in said
    shown = sponsor.must("governance", "show", number, "--votes", "--json").json
    assert (shown["tally"]["yes"], shown["tally"]["abstain"]) == ("300000", "100000")
    assert sorted(vote["option"] for vote in shown["votes"]) == ["abstain", "yes", "yes", "yes"]
    people_see = sponsor.must("governance", "show", number, "--votes").out
    for part in ("Dearer blocks", "reputation_decay = 5/6", "75.00 %", "if it ended now", "They are full."):
        assert part in people_see
    governed.until(lambda: sponsor.must("governance", "show", number, "--json").json["status"] == "executed")
    (fee,) = sponsor.must("governance", "params", "base_fee_min", "--json").json["parameters"]
    assert (fee["value"], fee["proposal"], fee["low"]) == ("3", made["proposal"], "1")
    line = sponsor.must("governance", "params", "reputation_decay").out
    assert "5/6" in line
    assert f"proposal {number}" in line
    listed = sponsor.must("governance", "list", "--status", "executed", "--json").json["proposals"]
    assert [each["proposal"] for each in listed] == [made["proposal"]]
    assert "Dearer blocks" in sponsor.must("governance", "list").out


def test_what_a_proposal_can_do_by_options(people: dict[str, Person]) -> None:
    sponsor = people["sponsor"]
    asked = [
        (("--spend", f"{text('second')}=1.5"), "spend", "pays"),
        (("--admit", text("second"), "--dismiss", text("v3")), "admission", "admits"),
        (("--upgrade", "two", "--upgrade-version", "2.0", "--height", "900000"), "upgrade", "install 2.0"),
        ((), "text", "nothing"),
        (("--set", "batch_items=7"), "parameters", "batch_items = 7"),
    ]
    for options, kind, line in asked:
        made = sponsor.must(
            *("governance", "propose", "--title", kind, "--deposit", "5", "--json"), *options
        ).json
        assert made["kind"] == kind
        assert line in sponsor.must("governance", "show", str(made["proposal"])).out
        assert "taken back" in sponsor.must("governance", "cancel", str(made["proposal"])).out
    assert sponsor.must("governance", "upgrades").out.strip() == "no upgrades"


def test_from_a_program(governed: SmallChain, tmp_path: Path) -> None:
    wallets = {name: Wallet(key(name), key(name).address) for name in ("sponsor", *VALIDATORS)}
    with Client(governed.endpoint, home=tmp_path / "program") as client:
        draft = ProposalDraft(title="A grant", spend=[PaymentDraft(text("second"), "1.5")])
        made = client.propose(wallets["sponsor"], draft)
        assert made.receipt is not None
        number = made.receipt.events[0]["proposal"]
        for name in VALIDATORS:
            client.vote(wallets[name], number, VoteOption.VETO if name == "v0" else VoteOption.YES)
        tally = client.tally(number)
        assert (tally.yes, tally.veto, tally.final) == (300_000 * NANO, 100_000 * NANO, False)
        assert tally.outcome == "passed"
        assert client.votes(voter=text("v0"))[0].option == "veto"
        assert client.proposals(status="voting")[0].proposal == number
        assert client.proposal(number).content["payments"] == [
            {"to": text("second"), "amount": str(NANO * 3 // 2)}
        ]
        before = client.account(text("second")).balance
        governed.until(lambda: client.proposal(number).status == "executed")
        assert client.account(text("second")).balance == before + NANO * 3 // 2
        names = {each.name for each in client.parameters()}
        assert {"block_interval_ms", "proposal_quorum_bps"} <= names
        assert client.upgrades() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("propose",), "--title"),
        (("propose", "--title", "x", "--set", "base_fee_min"), "NAME=VALUE"),
        (("propose", "--title", "x", "--set", "tax=1"), "no such parameter: tax"),
        (("propose", "--title", "x", "--set", "base_fee_min=0"), "from 1 to 1000000"),
        (("propose", "--title", "x", "--set", "epoch_blocks=9"), "epoch_blocks is fixed"),
        (("propose", "--title", "x", "--set", "reputation_decay=7"), "write it like 7/8"),
        (("propose", "--title", "x", "--set", "batch_items=many"), "a whole number, its unit is items"),
        (("propose", "--title", "x", "--spend", "omnit1q=1"), "address"),
        (("propose", "--title", "x", "--upgrade", "two"), "--upgrade-version"),
        (("propose", "--title", "x", "--admit", "X", "--set", "batch_items=7"), "address"),
        (
            ("propose", "--title", "x", "--cancel-upgrade", "two", "--set", "batch_items=7"),
            "a proposal does one thing",
        ),
        (("propose", "--file", "nowhere.toml"), "can't be read"),
        (("vote", "1", "perhaps"), "perhaps"),
        (("vote", "77", "yes"), "there is no such proposal"),
        (("show", "77"), "proposal"),
        (("params", "tax"), "no such parameter: tax"),
        (("deposit", "77"), "proposal"),
        (("propose", "--title", "x", "--deposit", "0.5"), "comes with a deposit"),
    ],
)
def test_wrong_input_says_what_to_do(
    people: dict[str, Person], arguments: tuple[str, ...], said: str
) -> None:
    found = people["sponsor"].type("governance", *arguments)
    assert found.code in (1, 2)
    assert said in found.err
    assert len(found.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.toml", "title = ", "no TOML"),
        ("a.json", "{", "no JSON"),
        ("a.json", "[" * 100 + "]" * 100, "nests too deep"),
        ("a.json", '{"title": "x", "taxes": 1}', "taxes"),
        ("a.json", '{"title": "x", "parameters": {"batch_items": true}}', "batch_items"),
        ("a.toml", 'title = "x"\n[parameters]\nreputation_decay = [1, 2, 3]\n', "write it like 7/8"),
        ("a.json", '{"summary": "no title"}', "title"),
        ("a.toml", "x" * 70_000, "too large"),
        ("a.json", json.dumps({"title": "x" * 121}), "not valid"),
    ],
)
def test_wrong_files_say_what_is_wrong(
    people: dict[str, Person], tmp_path: Path, name: str, content: str, said: str
) -> None:
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    found = people["sponsor"].type("governance", "propose", "--file", str(file))
    assert found.code in (1, 2)
    assert said in found.err
