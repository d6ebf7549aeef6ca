"""Scores, reputations, draws and pay against plain fractions, and against the design's reference where it is at hand."""

from __future__ import annotations

import importlib.util
from decimal import Decimal, localcontext
from fractions import Fraction
from math import floor
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.protocol import hashing
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Address, Amount, BatchId, Hash
from state.ledger import draw, pay, reputation, scoring
from state.ledger.scoring import PEERS, Bar, Reference, ReferenceKind
from state.records_review import Reputation
from tests.ledger.world import SPEC
from tests.shared_data import shared_path

PARAMS = Params()
BAR = Bar((3_000, 4_000, 3_000), (60, 60, 60), 60)
WHOLE = 10_000


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """The design's own arithmetic; the tests that use it skip where the shared folder is absent."""
    path = shared_path("design/reference/validation_reference.py")
    spec = importlib.util.spec_from_file_location("validation_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCORE = st.integers(0, 100)
TRIPLE = st.tuples(SCORE, SCORE, SCORE)
BITS = st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 1))
WEIGHT = st.integers(1, 8)
BPS_VALUE = st.integers(0, WHOLE)
POINTS = st.none() | st.integers(-WHOLE, 323_333)


@st.composite
def committees(draw_: st.DrawFn) -> tuple[list[list[Any]], list[int]]:
    """Reports by item and reviewer, and the reviewers' weights: two or more reviewers."""
    size = draw_(st.integers(2, 7))
    items = draw_(st.integers(1, 6))
    reports = [[draw_(TRIPLE) for _ in range(size)] for _ in range(items)]
    return reports, [draw_(WEIGHT) for _ in range(size)]


REFERENCES = st.one_of(
    st.just(PEERS),
    BITS.map(lambda bits: Reference(ReferenceKind.GOLD, bits)),
    BITS.map(lambda bits: Reference(ReferenceKind.FINAL, bits)),
)

# -- the oracle in this file: exact fractions, floors where the specification has them


def oracle_median(pairs: list[tuple[int, int]]) -> int:
    """Spreads every value out by its weight and takes the lower middle one."""
    spread = sorted(value for value, weight in pairs for _ in range(weight))
    return spread[(len(spread) - 1) // 2]


def oracle_passes(scores: tuple[int, int, int]) -> bool:
    return all(s >= 60 for s in scores) and Fraction(3 * scores[0] + 4 * scores[1] + 3 * scores[2], 10) >= 60


def oracle_points(bit: int, expected: int, prior: int) -> int:
    share_of_ones = min(Fraction(97, 100), max(Fraction(3, 100), Fraction(prior, WHOLE)))
    share = share_of_ones if bit else 1 - share_of_ones
    return floor(1 / share * WHOLE) - WHOLE if bit == expected else -WHOLE


def oracle_score(
    me: int,
    reports: list[list[Any]],
    weights: list[int],
    references: list[Reference],
    priors: Any,
    golds: Any,
) -> tuple[int | None, int | None, int, int, int]:
    peer: list[tuple[int, int]] = []
    gold: list[tuple[int, int]] = []
    away: list[int] = []
    for item, expected in zip(reports, references, strict=True):
        for c, weight in enumerate((3, 4, 3)):
            mine = int(item[me][c] >= 60)
            if expected.kind is ReferenceKind.GOLD:
                gold.append((weight, oracle_points(mine, expected.bits[c], golds[c])))
                continue
            others = [(item[u][c], weights[u]) for u in range(len(weights)) if u != me]
            away.append(min(40, max(0, abs(item[me][c] - oracle_median(others)) - 10)))
            if expected.kind is ReferenceKind.FINAL:
                bit = expected.bits[c]
            else:
                for_it = sum(w for s, w in others if s >= 60)
                against = sum(w for s, w in others if s < 60)
                if for_it == against:
                    continue
                bit = 1 if for_it > against else 0
            peer.append((weight, oracle_points(mine, bit, priors[c])))

    def mean(found: list[tuple[int, int]]) -> int | None:
        return floor(Fraction(sum(w * p for w, p in found), sum(w for w, _ in found))) if found else None

    golds_seen = sum(r.kind is ReferenceKind.GOLD for r in references)
    close = WHOLE - (floor(Fraction(sum(away) * WHOLE, 40 * len(away))) if away else 0)
    return mean(peer), mean(gold), len(references) - golds_seen, golds_seen, close


class OracleReputation:
    """Six numbers and their decay, as the specification's prose has them."""

    def __init__(self) -> None:
        self.sums = {"all": 0, "gold": 0, "peer": 0}
        self.weights = {"all": 0, "gold": 0, "peer": 0}

    def add(self, which: str, value: int, evidence: int, keep: Fraction) -> None:
        self.sums[which] = floor(self.sums[which] * keep) + value * evidence
        self.weights[which] = floor(self.weights[which] * keep) + evidence

    def update(self, peer: int | None, gold: int | None, n: int, ng: int) -> None:
        if peer is None and gold is None:
            return
        if peer is None:
            value, evidence = gold, floor(Fraction(ng * 1000 * 6, 10))
        elif gold is None:
            value, evidence = peer, floor(Fraction(n * 1000 * 4, 10))
        else:
            value, evidence = floor(Fraction(6 * gold + 4 * peer, 10)), (n + ng) * 1000
        assert value is not None
        self.add("all", value, evidence, Fraction(7, 8))
        if peer is not None:
            self.add("peer", peer, n * 1000, Fraction(15, 16))
        if gold is not None:
            self.add("gold", gold, ng * 1000, Fraction(15, 16))

    def quality(self) -> int:
        found = floor(Fraction(self.sums["all"] + 2500 * 10_000, self.weights["all"] + 10_000))
        gold = floor(Fraction(self.sums["gold"], self.weights["gold"] + 4000))
        peer = floor(Fraction(self.sums["peer"], self.weights["peer"] + 20_000))
        if self.weights["gold"] >= 9000 and gold < 2500:
            found = min(found, gold)
        if self.weights["peer"] >= 60_000 and peer < 1500:
            found = min(found, peer)
        return found


def oracle_settle(fee: int, quality: int, close: int) -> tuple[int, int]:
    standing = max(-WHOLE, min(WHOLE, floor(Fraction((quality - 2500) * WHOLE, 4500))))
    if standing < 0:
        return 0, floor(Fraction(fee * -standing, WHOLE))
    base = 7000 + floor(Fraction(3000 * close, WHOLE))
    return floor(Fraction(fee * standing * base, WHOLE * WHOLE)), 0


# -- against the oracle


@given(st.lists(st.tuples(SCORE, WEIGHT), min_size=1, max_size=31))
def test_median_is_the_lower_middle_of_the_weight(pairs: list[tuple[int, int]]) -> None:
    assert scoring.weighted_median(pairs) == oracle_median(pairs)


@given(committees())
def test_tally_is_medians_verdict_and_agreeing_weight(committee: tuple[list[list[Any]], list[int]]) -> None:
    (reports, *_), weights = committee
    found = scoring.tally(reports, weights, BAR)
    medians = tuple(
        oracle_median([(r[c], w) for r, w in zip(reports, weights, strict=True)]) for c in range(3)
    )
    assert found.scores == medians
    assert found.accepted is oracle_passes(medians)  # type: ignore[arg-type] # three of them
    agreeing = sum(w for r, w in zip(reports, weights, strict=True) if oracle_passes(r) == found.accepted)
    assert found.agreement_bps == floor(Fraction(agreeing * WHOLE, sum(weights)))


@given(committees(), st.data())
def test_score_is_the_oracles(committee: tuple[list[list[Any]], list[int]], data: st.DataObject) -> None:
    reports, weights = committee
    references = [data.draw(REFERENCES) for _ in reports]
    priors, golds = (data.draw(st.tuples(BPS_VALUE, BPS_VALUE, BPS_VALUE)) for _ in range(2))
    for me in range(len(weights)):
        found = scoring.score(me, reports, weights, references, priors, golds, BAR, PARAMS)
        expected = oracle_score(me, reports, weights, references, priors, golds)
        assert (found.peer, found.gold, found.peer_items, found.gold_items, found.closeness_bps) == expected


@given(st.lists(st.tuples(POINTS, POINTS, st.integers(1, 64), st.integers(1, 8)), max_size=30))
def test_reputation_is_the_oracles(batches: list[tuple[int | None, int | None, int, int]]) -> None:
    ours, oracle = reputation.FRESH, OracleReputation()
    for peer, gold, n, ng in batches:
        ours = reputation.updated(ours, peer, gold, n, ng, PARAMS)
        oracle.update(peer, gold, n, ng)
        assert reputation.quality(ours, PARAMS) == oracle.quality()


@given(st.integers(0, 10**15), st.integers(-WHOLE, 40_000), BPS_VALUE)
def test_settlement_is_the_oracles(fee: int, quality: int, close: int) -> None:
    assert pay.settle(fee, quality, close, PARAMS) == oracle_settle(fee, quality, close)
    assert max(pay.settle(fee, quality, close, PARAMS)) <= fee


@given(
    st.integers(0, 10**18),
    st.dictionaries(st.binary(min_size=1, max_size=3), st.integers(0, 10**12), max_size=12),
)
def test_split_loses_no_unit_and_is_fair_to_one(total: int, weights: dict[bytes, int]) -> None:
    shares, left = pay.largest_remainder(total, list(weights.items()))
    whole = sum(weights.values())
    assert sum(shares.values()) + left == total
    if whole == 0:
        assert left == total
        return
    assert left == 0
    exact = {key: Fraction(total * weight, whole) for key, weight in weights.items()}
    assert all(floor(exact[key]) <= shares[key] <= floor(exact[key]) + 1 for key in weights)
    over = {key for key in weights if shares[key] > floor(exact[key])}
    for one in over:  # who got a unit more had no smaller remainder, and among equals the smaller key
        for other in set(weights) - over:
            rest, others = exact[one] - floor(exact[one]), exact[other] - floor(exact[other])
            assert (rest, other) > (others, one) or rest > others


@given(st.integers(0, 10**12), SCORE)
def test_contributor_earns_half_to_all(reward: int, score: int) -> None:
    share = max(0, min(WHOLE, 5000 + floor(Fraction(5000 * (score - 60), 40))))
    assert pay.contributor_pay(reward, score) == floor(Fraction(reward * share, WHOLE))


def test_reserve_is_reward_and_both_rounds() -> None:
    found = pay.reserve(SPEC, 2, 1)
    fee = SPEC.review_fee * 25 // 10
    assert found == pay.Reserve(fee, SPEC.unit_price * 5, 5 * fee, 11 * fee * 4 // 10)
    assert found.total == SPEC.unit_price * 5 + 5 * fee + 11 * fee * 4 // 10


@pytest.mark.parametrize(
    ("scores", "flagged", "fraud", "cost"),
    [
        ((55, 55, 55), False, False, 0),
        ((54, 90, 90), False, False, 250),
        ((55, 55, 55), True, False, 250),
        ((90, 90, 90), True, True, 1000),
    ],
)
def test_rejection_costs_by_how_it_failed(
    scores: tuple[int, ...], flagged: bool, fraud: bool, cost: int
) -> None:
    found = pay.rejection_cost(1000, scores, (60, 60, 60), flagged=flagged, fraud=fraud, params=PARAMS)
    assert found == cost


@given(BPS_VALUE, st.integers(0, 1))
def test_a_constant_answer_expects_at_most_a_rounding(prior: int, answer: int) -> None:
    """With the true share of ones as prior, whoever always gives one answer gains nothing (outside the clipped ends)."""
    if not 300 <= prior <= 9700:
        return
    share = prior if answer else WHOLE - prior
    expected = share * scoring.points(answer, answer, prior, 9700) + (WHOLE - share) * -WHOLE
    assert -WHOLE <= expected / WHOLE <= 0


def test_a_reviewer_alone_is_held_against_nothing() -> None:
    found = scoring.score(
        0, [[(90, 90, 90)], [(1, 2, 3)]], [2], [PEERS] * 2, (5000,) * 3, (5000,) * 3, BAR, PARAMS
    )
    assert found == scoring.Score(None, None, 2, 0, WHOLE, ())


def test_priors_start_even_and_follow_the_references() -> None:
    assert scoring.prior_bps(0, 0, PARAMS) == 5000
    assert scoring.prior_bps(10, 10, PARAMS) == 7500
    assert scoring.prior_bps(0, 990, PARAMS) == 50


def oracle_draw(seed: Hash, weights: dict[Address, int], seats: int) -> list[Address]:
    """By real logarithms, with more digits than can matter."""
    with localcontext(prec=60):
        times = {
            address: -((int.from_bytes(hashing.DRAW(seed, address), "big") + 1) / Decimal(2) ** 256).ln()
            / weight
            for address, weight in weights.items()
            if weight
        }
    return sorted(times, key=lambda address: (times[address], address))[:seats]


ADDRESSES = st.integers(0, 40).map(lambda n: Address(bytes([n]) * 33))
WEIGHTS = st.dictionaries(ADDRESSES, st.integers(0, 30), max_size=15)


@given(st.binary(min_size=32, max_size=32).map(Hash), WEIGHTS, st.integers(0, 12))
def test_draw_is_a_race_at_rates_of_weight(seed: Hash, weights: dict[Address, int], seats: int) -> None:
    assert draw.draw(seed, weights, seats) == oracle_draw(seed, weights, seats)


@given(st.integers(1, 2**256))
def test_logarithms_are_cut_below_and_close(number: int) -> None:
    with localcontext(prec=60):
        exact = Decimal(number).ln() / Decimal(2).ln() * 2**draw.LOG_BITS
    assert Decimal("-1.0001") < draw.log2(number) - exact <= Decimal(10) ** -40


def test_draws_follow_the_weights() -> None:
    """Over many seeds each order of seats comes as often as by points on a line of the weights that are left."""
    weights = {Address(bytes([n]) * 33): n for n in (1, 2, 3, 4)}
    orders: dict[tuple[int, ...], int] = {}
    runs = 24_000
    for n in range(runs):
        found = draw.draw(draw.seats_seed(Hash(bytes(32)), BatchId(n), 1, 0), weights, 3)
        key = tuple(address[0] for address in found)
        orders[key] = orders.get(key, 0) + 1
    assert len(orders) == 24
    for (first, second, third), times in orders.items():
        left = 10 - first
        expected = runs * first / 10 * second / left * third / (left - second)
        assert abs(times - expected) < 5 * expected**0.5 + 5


# -- against the design's reference


@settings(max_examples=200)
@given(committees(), st.data())
def test_scores_and_tallies_equal_the_reference(
    reference: ModuleType, committee: tuple[list[list[Any]], list[int]], data: st.DataObject
) -> None:
    reports, weights = committee
    chosen = [data.draw(REFERENCES) for _ in reports]
    priors, golds = (data.draw(st.tuples(BPS_VALUE, BPS_VALUE, BPS_VALUE)) for _ in range(2))
    named = {t: dict(enumerate(item)) for t, item in enumerate(reports)}
    votes = dict(enumerate(weights))
    kinds = {ReferenceKind.GOLD: "gold", ReferenceKind.FINAL: "final", ReferenceKind.PEERS: "loo"}
    refs = {t: (kinds[one.kind], one.bits) for t, one in enumerate(chosen)}
    for me in range(len(weights)):
        ours = scoring.score(me, reports, weights, chosen, priors, golds, BAR, PARAMS)
        theirs = reference.score(me, named, refs, priors, golds, votes)
        assert (*ours[:5], list(ours.references)) == theirs
    for t, item in enumerate(reports):
        medians, verdict, agreement = reference.tally(named[t], votes)
        assert scoring.tally(item, weights, BAR) == (medians, bool(verdict), agreement)


@given(st.lists(st.tuples(POINTS, POINTS, st.integers(1, 64), st.integers(1, 8)), max_size=30))
def test_reputations_equal_the_reference(
    reference: ModuleType, batches: list[tuple[int | None, int | None, int, int]]
) -> None:
    ours, theirs = reputation.FRESH, reference.Rep()
    for peer, gold, n, ng in batches:
        ours = reputation.updated(ours, peer, gold, n, ng, PARAMS)
        theirs.update(peer, gold, n, ng)
        assert ours == Reputation(theirs.Z, theirs.W, theirs.GZ, theirs.GW, theirs.PZ, theirs.PW)
        quality = reputation.quality(ours, PARAMS)
        assert quality == theirs.Q()
        assert reputation.vote_weight(quality) == reference.votew(quality)
        assert reputation.seat_weight(32_000 * 10**9, quality) == reference.sortw(32_000 * 10**9, quality)


@given(
    st.integers(0, 10**15),
    st.integers(-WHOLE, 40_000),
    BPS_VALUE,
    st.lists(
        st.tuples(st.binary(min_size=1, max_size=4), st.integers(0, 10**9)),
        max_size=12,
        unique_by=lambda p: p[0],
    ),
)
def test_pay_equals_the_reference(
    reference: ModuleType, amount: int, quality: int, close: int, weights: list[tuple[bytes, int]]
) -> None:
    assert pay.settle(amount, quality, close, PARAMS) == reference.settle(amount, quality, close)
    assert pay.largest_remainder(amount, weights) == reference.largest_remainder(amount, weights)


def test_the_reference_has_our_parameters(reference: ModuleType) -> None:
    theirs = reference.P
    ours = PARAMS
    assert (theirs["CLIP"], theirs["PRIOR0"], theirs["GAMMA"]) == (
        ours.peer_clip_bps,
        ours.prior_weight,
        ours.gamma_gold_bps,
    )
    assert (theirs["B"], theirs["QBE"], theirs["QSPAN"], theirs["LAMBDA"]) == (
        ours.batch_items,
        ours.reputation_break_even_bps,
        ours.reputation_span_bps,
        ours.closeness_base_bps,
    )
    assert Amount(theirs["PEN"]) == ours.penalty_bps
