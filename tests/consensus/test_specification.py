"""The page on the stake proof names what the code has: every rule, event, effect and limit that it speaks of."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import get_args

from consensus.stake.effects import Effect
from consensus.stake.events import Event
from consensus.stake.knowledge import LEADER_INACTIVE_VIEWS, Rule
from omnitensor.protocol import limits
from omnitensor.protocol.params import Params
from omnitensor.protocol.votes import Candidate, Certificate, FinalityProof, Proposal, Vote
from tests.simulation.adversaries import ADVERSARY_CLASSES
from tests.simulation.mutants import MUTANTS
from tests.simulation.twins import scripts

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/specification/consensus.md").read_text(encoding="utf-8")


def test_every_rule_is_specified_and_cited_in_code() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "consensus/stake").glob("*.py"))
    for rule in sorted({rule.name.split("_")[0] for rule in Rule}, key=lambda name: int(name[1:])):
        assert f"**{rule} " in PAGE
        assert re.search(rf"\b{rule}\b", code)
    assert len({rule.name.split("_")[0] for rule in Rule}) == 10


def test_tables_name_every_event_and_effect() -> None:
    for kind in (*get_args(Event), *get_args(Effect)):
        assert re.search(rf"^\| [\w, ]*\b{kind.__name__}\b[\w, ]* \|", PAGE, re.MULTILINE), kind.__name__


def test_records_are_listed_field_by_field() -> None:
    for record in (Candidate, Vote, Certificate, Proposal, FinalityProof):
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| {record.__name__} "))
        places = [re.search(rf"\b{field}\b", row.split("|")[2]) for field in record.__struct_fields__]
        assert all(places), row
        starts = [place.start() for place in places if place is not None]
        assert starts == sorted(starts), f"{record.__name__}: another order than in the code"


def test_limits_and_parameters_exist() -> None:
    named = set(re.findall(r"`(\w+_(?:max|ms))`", PAGE))
    known = set(vars(limits)) | set(Params.__struct_fields__)
    assert named <= known, named - known
    assert f"more than {LEADER_INACTIVE_VIEWS} views" in PAGE


def test_the_page_on_the_simulator_names_every_hostile_kind_and_counts_faults_and_twins() -> None:
    page = (ROOT / "docs/specification/simulation.md").read_text("utf-8")
    words = page.replace("-", " ").lower()
    assert [kind for kind in ADVERSARY_CLASSES if kind.replace("_", " ") not in words] == []
    assert f"one rule broken, {len(MUTANTS)} times" in page
    for family, count in Counter(script.family for script in scripts()).items():
        assert f"| {family} |" in page
        assert f"| {count:,} |" in page
