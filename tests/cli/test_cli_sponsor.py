"""A sponsor's commands around signing: files with faults, estimates, being asked, and a kill between signing and the end."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from omnitensor.protocol.types import NANO
from omnitensor.sdk.specs import CampaignDraft, draft_from_toml
from tests.cli.people import Person
from tests.cli.test_cli_terminal import at_terminal
from tests.sdk.small_chain import SmallChain
from tests.state.chain_fixtures import key

pytestmark = pytest.mark.xdist_group("cli-sponsor")

OWLS = """\
title = "Owls"
unit_price = "4"
review_fee = "0.5"
item_bond = "0.2"
budget = "60"
preset = "economy"
media = ["image/*"]
"""


@pytest.fixture
def sponsor(tmp_path: Path, chain: SmallChain) -> Person:
    return Person(tmp_path / "sponsor", chain.endpoint).log_in("sponsor")


@pytest.fixture
def owls(tmp_path: Path) -> Path:
    path = tmp_path / "owls.toml"
    path.write_text(OWLS, encoding="utf-8")
    return path


def nonce(chain: SmallChain) -> int:
    return chain.reader().account(key("sponsor").address).nonce


def test_every_fault_has_a_line_of_its_own(sponsor: Person, owls: Path, chain: SmallChain) -> None:
    owls.write_text(OWLS.replace('"4"', '"lots"').replace("media", "medai") + "first_seats = 99\n")
    before = nonce(chain)
    for command in (("campaign", "open", "--yes"), ("campaign", "estimate")):
        said = sponsor.type(*command, "--file", str(owls))
        assert (said.code, said.out) == (2, "")
        errors = said.err.splitlines()
        assert [
            line.startswith(f"error: {owls}, line {n}: ") for line, n in zip(errors, (2, 7, 8), strict=True)
        ]
        assert "did you mean media?" in errors[1]
        assert all(line.endswith(")") for line in errors)
        told = sponsor.type(*command, "--file", str(owls), "--json").json["error"]
        assert [fault["where"] for fault in told["faults"]] == [f"{owls}, line {n}" for n in (2, 7, 8)]
    assert (
        "option --unit-price: unit_price"
        in sponsor.type("campaign", "open", "--file", str(owls), "--unit-price", "x").err
    )
    assert nonce(chain) == before


@pytest.mark.parametrize("preset", ["economy", "standard", "strict"])
def test_template_opens_as_it_is(tmp_path: Path, preset: str) -> None:
    """And says of its preset what holds, and has every key."""
    nobody, path = Person(tmp_path / "nobody"), tmp_path / "new.toml"
    nobody.must("campaign", "template", "--preset", preset, "--out", str(path))
    again = nobody.type("campaign", "template", "--out", str(path))
    assert (again.code, "there already" in again.err) == (2, True)
    text = path.read_text(encoding="utf-8")
    assert nobody.must("campaign", "template", "--preset", preset).out == text
    plain = draft_from_toml(path).spec(0)
    told = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    assert told.count("\n#") == 0
    files = ("specification_file", "model_file")
    path.write_text("\n".join(line for line in told.splitlines() if not line.startswith(files)))
    draft = draft_from_toml(path)
    assert draft.private
    assert replace(draft, private=False).spec(0) == plain
    assert all(
        f"{name} = " in text
        for name in CampaignDraft.__struct_fields__
        if name not in ("categories", "closes_at")
    )


def test_estimate_needs_no_account(tmp_path: Path, chain: SmallChain, owls: Path) -> None:
    nobody = Person(tmp_path / "nobody", chain.endpoint)
    found = nobody.must("campaign", "estimate", "--file", str(owls), "--tier", "10000", "--json").json
    (kind,) = found["kinds"]
    assert (kind["first_round"], kind["second_round"], kind["reward_most"]) == ("1.5", "4.5", "4")
    assert (kind["reserved"], kind["most"]) == ("7.3", "10")
    assert (found["items_sure"], kind["items_sure"]) == (6, 6)
    assert found["items_probable_least"] > 6
    assert found["gold_bond_each"] == "1.5"
    assert 0 < float(found["opening_fee"]) < 0.1
    shown = nobody.must("campaign", "estimate", "--file", str(owls)).out
    for text in ("covers for sure", "covers probably", "gold, advised", "second round", "fee of opening"):
        assert text in shown
    owls.write_text(OWLS + "private = true\n")
    private = nobody.must("campaign", "estimate", "--file", str(owls), "--tier", "10000", "--json").json
    assert private["kinds"] == found["kinds"], "whoever will read it"
    surer = nobody.must("campaign", "estimate", "--file", str(owls), "--accuracy", "99", "--json").json
    assert surer["second_round_bps"] < found["second_round_bps"]
    assert nobody.type("campaign", "estimate", "--file", str(owls), "--accuracy", "20").code == 2


def test_it_asks_before_it_signs(sponsor: Person, owls: Path, chain: SmallChain) -> None:
    before = nonce(chain)
    said = sponsor.type("campaign", "open", "--file", str(owls))
    assert (said.code, "--yes" in said.err, said.out) == (2, True, "")
    code, shown = at_terminal(
        sponsor, "campaign", "open", "--file", str(owls), answers=(("pay in 60 OMNIT?", "n"),)
    )
    assert code == 130
    assert "What an item costs" in shown
    assert nonce(chain) == before
    code, shown = at_terminal(
        sponsor, "campaign", "open", "--file", str(owls), answers=(("pay in 60 OMNIT?", "y"),)
    )
    assert (code, "is open with a budget of 60 OMNIT" in shown) == (0, True)
    assert nonce(chain) == before + 1


def test_too_little_money_is_said_before_it_asks(sponsor: Person, owls: Path, chain: SmallChain) -> None:
    before = nonce(chain)
    code, shown = at_terminal(
        sponsor, "campaign", "open", "--file", str(owls), "--budget", "999999", answers=()
    )
    assert (code, "needs 999,999" in shown, "pay in" in shown) == (1, True, False)
    said = sponsor.type("campaign", "open", "--yes", "--file", str(owls), "--budget", "999999")
    assert (said.code, "needs 999,999" in said.err) == (1, True)
    assert nonce(chain) == before


def test_killed_after_signing_it_pays_once(sponsor: Person, owls: Path, chain: SmallChain) -> None:
    """The transaction is on its way when the process dies; the same command sees that one through."""
    owls.write_text(OWLS.replace("Owls", "Owls once"))
    before, sent = chain.balance("sponsor"), len(chain.submitted)
    command = [sys.executable, "-m", "omnitensor.cli.main", "campaign", "open", "--yes", "--file", str(owls)]
    chain.is_paused = True
    try:
        program = subprocess.Popen(command, env=sponsor.environment, stdout=subprocess.PIPE, text=True)
        chain.until(lambda: len(chain.submitted) > sent)
        program.send_signal(signal.SIGKILL)
        program.communicate(timeout=600)
    finally:
        chain.is_paused = False
    found = sponsor.must("campaign", "open", "--yes", "--file", str(owls), "--json").json
    listed = sponsor.must("campaign", "list", "--json").json["campaigns"]
    assert [each["campaign"] for each in listed if each["spec"]["title"] == "Owls once"] == [
        found["campaign"]
    ]
    assert 60 * NANO < before - chain.balance("sponsor") < 61 * NANO
    again = sponsor.must("campaign", "open", "--yes", "--file", str(owls), "--json").json
    assert again["campaign"] > found["campaign"], "after an end, the same file opens another"
