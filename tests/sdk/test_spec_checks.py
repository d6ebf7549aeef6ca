"""Campaigns as people write them: every fault is found at once, by line and key; estimates are the ledger's sums."""

from __future__ import annotations

import tomllib
from itertools import product
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.protocol.bodies import CampaignSpec, Category
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import BPS, NANO, Amount, Height
from omnitensor.sdk.estimates import Assumptions, estimate, second_round_bps
from omnitensor.sdk.spec_checks import RULES, SpecError, lines_of
from omnitensor.sdk.specs import CampaignDraft, CategoryDraft, draft_from, draft_from_toml
from state.ledger.campaigns import check_spec
from state.ledger.errors import Rejected
from state.ledger.pay import contributor_pay, reserve
from tests.ledger.world import SPEC

GOOD = """\
# A campaign
title = "Owls" # at night
instructions = \"\"\"
unit_price = "not a key, but text"
[[categories]]
\"\"\"
unit_price = "4"
review_fee = 0.5
budget = "1,000"
media = [
    "image/jpeg", # [
    "image/png",
]

[[categories]]
name = "night"

[[categories]]
name = "day"
importance = 1.5
"""


def faults(text: str, folder: Path) -> list[tuple[str, str]]:
    path = folder / "campaign.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        draft_from_toml(path).spec(100)
    assert all(fault.remedy for fault in caught.value.faults)
    assert all(str(path) in fault.where for fault in caught.value.faults)
    found = [(fault.where.removeprefix(str(path)), fault.reason) for fault in caught.value.faults]
    assert found[0][1] in str(caught.value)
    return found


def test_lines() -> None:
    tomllib.loads(GOOD)
    assert lines_of(GOOD) == {
        ("title",): 2,
        ("instructions",): 3,
        ("unit_price",): 7,
        ("review_fee",): 8,
        ("budget",): 9,
        ("media",): 10,
        ("categories", 0): 15,
        ("categories", 0, "name"): 16,
        ("categories", 1): 18,
        ("categories", 1, "name"): 19,
        ("categories", 1, "importance"): 20,
    }


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab=[]\"'#.\\\n {},1", max_size=60))
def test_lines_of_any_document(text: str) -> None:
    """Whatever a TOML reader takes, the lines of its plain keys are theirs."""
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = text.splitlines()
    found = lines_of(text)
    for path, line in found.items():
        assert str(path[-1]) in lines[line - 1] or isinstance(path[-1], int)
    plain = {name for name, value in fields.items() if not isinstance(value, dict | list) and name.isalnum()}
    assert {(name,) for name in plain} <= found.keys()


def test_a_good_file(tmp_path: Path) -> None:
    (tmp_path / "campaign.toml").write_text(GOOD, encoding="utf-8")
    assert draft_from_toml(tmp_path / "campaign.toml").spec(100).unit_price == 4 * NANO


def test_every_fault_at_once(tmp_path: Path) -> None:
    text = GOOD.replace('"4"', '"four"').replace("0.5", "true").replace("1.5", "1000").replace("night", "day")
    text = text.replace("review_fee", "review_fees") + 'colour = "red"\n'
    assert faults("first_seats = 40\n" + text, tmp_path) == [
        (", line 1", "first_seats must be a number from 1 to 31"),
        (", line 8", "unit_price must be an amount in OMNIT"),
        (", line 9", "a campaign has no key review_fees"),
        (", line 20", "two categories have one name"),
        (", line 21", "importance must be a factor from 0.0001 to 100"),
        (", line 22", "a campaign has no key colour"),
        ("", "the key review_fee is missing"),
    ]


WRONG: dict[str, list[object]] = {
    "title": ["", " ", "x" * 121, 5],
    "unit_price": ["much", "-1", "1.0000000001", True, [1], "2000000000"],
    "review_fee": ["0", "-1", 0],
    "budget": ["0", "a lot"],
    "item_bond": ["-1", "x"],
    "instructions": ["x" * 4_001, 5],
    "licence": ["", "x" * 65],
    "media": [[], ["text"], ["text/"], ["*/*"], "text/plain", ["a/b"] * 17, [5], ["text/" + "x" * 64]],
    "preset": ["lavish", 5],
    "tiers": [[], [0], [1_000_001], [1] * 9, ["a"], 5],
    "criterion_weights": [[1, 2, 3], [10_000], [5_000, 5_000, 0, 0], [-1, 10_001, 0], "x"],
    "thresholds": [[1, 2, 300], [-1, 2, 3], [60, 60]],
    "overall_threshold": [101, -1, "60"],
    "first_seats": [0, 32, "5", 5.5],
    "second_seats": [-1, 32],
    "agree_min_bps": [-1, 10_001],
    "audit_bps": [-1, 10_001, 5.5],
    "private": ["perhaps", 5],
    "reading_key": ["00" * 32, "09", "not hexadecimal", 9],
    "contributor_share_max_bps": [-1, 10_001],
    "item_bytes_max": [0, 2**62, "1 MiB"],
    "closes_in_blocks": [0, -5, 10**30],
    "closes_at": [0, "tomorrow"],
    "categories": [[], [{"name": "x"}] * 65, "general", ["general"]],
}
DRAFT = {"title": "Birds", "unit_price": "2", "review_fee": "0.5", "budget": "100"}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in WRONG.items() for value in values]
)
def test_every_key_out_of_its_range(key: str, value: object) -> None:
    with pytest.raises(SpecError) as caught:
        draft_from({**DRAFT, key: value}, "x.toml", {(key,): 7}).spec(0)
    assert key.rstrip("s") in caught.value.reason or "preset" in caught.value.reason or "categor" in key
    assert caught.value.faults[0].where == "x.toml, line 7"
    assert caught.value.remedy


def test_every_key_has_a_rule() -> None:
    named = {*CampaignDraft.__struct_fields__, *CategoryDraft.__struct_fields__}
    assert named - RULES.keys() <= {"specification_file", "model_file", "preset", "categories"}
    assert {*WRONG} >= {*CampaignDraft.__struct_fields__} - {"specification_file", "model_file"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"closes_at": 90}, "the chain is at 100"),
        ({"review_fee": "0.000000001", "tiers": [5_000]}, "comes to nothing"),
        ({"budget": "1"}, "one item alone reserves"),
        ({"instructions": "\N{OWL}" * 4_000}, "put|more than the 8192 bytes"),
    ],
)
def test_what_no_key_is_wrong_in_alone(change: dict[str, object], reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        draft_from({**DRAFT, **change}).spec(100)


def specs() -> st.SearchStrategy[CampaignSpec]:
    amounts = st.integers(0, 50 * NANO).map(Amount)
    return st.builds(
        lambda price, fee, tiers, weights, first, second, agree, audit: msgspec.structs.replace(
            SPEC,
            unit_price=price,
            review_fee=fee,
            tier_bps=tuple(tiers),
            categories=tuple(Category(f"c{n}", weight, 5) for n, weight in enumerate(weights)),
            first_seats=first,
            second_seats=second,
            agree_min_bps=agree,
            audit_bps=audit,
        ),
        amounts,
        amounts,
        st.lists(st.integers(1, 25_000), min_size=1, max_size=4),
        st.lists(st.integers(1, 30_000), min_size=1, max_size=3),
        st.integers(1, 9),
        st.integers(0, 15),
        st.integers(0, BPS),
        st.integers(0, BPS),
    )


@settings(max_examples=100, deadline=None)
@given(specs(), st.integers(1, 10**6 * NANO), st.integers(0, 100))
def test_estimates_are_the_ledgers_sums(spec: CampaignSpec, budget: int, score: int) -> None:
    found = estimate(spec, budget, Params(), assumptions=Assumptions(score=score))
    pairs = list(product(range(len(spec.tier_bps)), range(len(spec.categories))))
    for kind, (tier, category) in zip(found.kinds, pairs, strict=True):
        real = reserve(spec, tier, category)
        assert (kind.reserved, kind.first_round, kind.reward_most) == (real.total, real.review, real.reward)
        assert kind.second_round == spec.second_seats * real.fee
        assert kind.most == real.reward + (spec.first_seats + spec.second_seats) * real.fee >= real.total
        assert kind.reward_least == contributor_pay(real.reward, spec.overall_threshold)
        assert kind.reward_least <= kind.reward_most
        assert kind.probable <= kind.most
    try:
        check_spec(spec, Height(1))
    except Rejected:
        return
    refused = budget < min(kind.reserved for kind in found.kinds)
    assert refused == any("will be refused" in each for each in found.advice)


@pytest.mark.parametrize("preset", ["economy", "standard", "strict"])
def test_share_of_second_rounds_is_what_chance_gives(preset: str) -> None:
    """By playing committees out: reviewers right 85 times in 100, and the lot."""
    spec = draft_from({**DRAFT, "preset": preset}).spec(0)
    chance, hits, plays = Random(4), 0, 40_000
    for _ in range(plays):
        right = sum(chance.random() < 0.85 for _ in range(spec.first_seats))
        agreement = max(right, spec.first_seats - right) / spec.first_seats
        hits += agreement * BPS < spec.agree_min_bps or chance.random() < spec.audit_bps / BPS
    assert second_round_bps(spec, 8_500) == pytest.approx(hits / plays * BPS, abs=120)


def test_advice() -> None:
    spec = draft_from({**DRAFT, "categories": [{"name": "a", "target": 900}]}).spec(0)
    said = " ".join(estimate(spec, 100 * NANO, Params(), reviewers=2).advice)
    assert "targets" in said
    assert "committees will be smaller" in said
    assert "item_bond" in said
