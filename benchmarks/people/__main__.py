"""Runs populations of people through the ledger and prints, beside the design's figures, who earned what and what was accepted.

``make people`` writes ``benchmarks/results/people.json`` and exits with 1 where a deviation earns as much as honest work, or
honest work beside a coalition less than the design's spread allows. ``ARGS=--quick`` plays few seeds, too few to tell neighbours
apart, and writes nothing.

With half of the stake or more in a coalition's hands a campaign tips: honest people keep the upper hand and earn nearly all, or
they are taken over and lose nearly all. A mean over few such campaigns says little, so more of them are played, and how many
tipped is said; so is how it goes in a larger crowd.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable
from math import sqrt
from multiprocessing import Pool
from pathlib import Path
from statistics import mean, pstdev
from typing import Any, Final, NamedTuple

from benchmarks.people import design
from benchmarks.people.minds import DEVIATIONS, Mind, honest, own_spam, shared_pattern
from benchmarks.people.scenes import Played, Scene

RESULTS: Final = Path(__file__).parents[1] / "results" / "people.json"
REVIEWERS: Final = 20
CROWD: Final = 60
"""Reviewers where many are there."""
SHARES_OF_STAKE: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
COLLUDERS: Final[dict[str, Mind]] = {
    "always_accept": DEVIATIONS["always_accept"],
    "shared_pattern": shared_pattern,
    "own_spam": own_spam,
}
GOOD_FOR_COALITIONS: Final = 0.7
TIPPING_SHARE: Final = 0.5
TIPPING_TIMES: Final = 8
"""How many times as many campaigns are played of a coalition that accepts everything with such a share."""
KINDS: Final = ("lone", "coalition", "crowd", "appeals")


class Run(NamedTuple):
    """One campaign: a lone mind, or a coalition of a share of the stake, among honest reviewers."""

    kind: str
    """``lone``, ``coalition``, ``crowd`` (a coalition among many), or ``appeals``."""
    mind: str
    share: float
    good: float
    seed: int
    batches: int


class Summary(NamedTuple):
    """Means over seeds, and how far the seeds lie apart."""

    honest: float
    others: float
    honest_spread: float
    others_spread: float
    played: list[Played]

    def of(self, name: str) -> float:
        return float(mean(getattr(one, name) for one in self.played))

    @property
    def taken_over(self) -> float:
        """Share of the campaigns in which honest work lost money."""
        return mean(_mean_of(one.pay, "honest") < 0 for one in self.played)

    @property
    def honest_error(self) -> float:
        """Standard error of honest pay."""
        return self.honest_spread / sqrt(len(self.played))


def play(run: Run) -> Played:
    """One run; in a process of its own it draws the same as anywhere."""
    if run.kind == "lone":
        minds = {f"honest{n}": honest for n in range(REVIEWERS)} | {"other": DEVIATIONS[run.mind]}
        return Scene(minds, run.seed).play(run.good, run.batches)
    if run.kind == "appeals":
        minds = {f"honest{n}": honest for n in range(REVIEWERS)}
        return Scene(minds, run.seed, appeals=True).play(run.good, run.batches)
    reviewers = CROWD if run.kind == "crowd" else REVIEWERS
    count = round(run.share * reviewers)
    minds = {f"other{n}": COLLUDERS[run.mind] for n in range(count)}
    minds |= {f"honest{n}": honest for n in range(reviewers - count)}
    spam = 0.2 if run.mind == "own_spam" else 0.0
    return Scene(minds, run.seed, spam_share=spam).play(run.good, run.batches)


def summed(played: list[Played]) -> Summary:
    honest_pay = [_mean_of(one.pay, "honest") for one in played]
    others = [_mean_of(one.pay, "other") for one in played]
    return Summary(mean(honest_pay), mean(others), pstdev(honest_pay), pstdev(others), played)


def runs_of(seeds: int, batches: int, kinds: Iterable[str]) -> list[Run]:
    runs: list[Run] = []
    for kind in kinds:
        if kind == "lone":
            cases = [(mind, 0.0, good) for mind in DEVIATIONS for good in design.SHARES]
        elif kind == "appeals":
            cases = [("honest", 0.0, GOOD_FOR_COALITIONS)]
        elif kind == "crowd":
            cases = [
                ("always_accept", share, GOOD_FOR_COALITIONS) for share in SHARES_OF_STAKE if tips(share)
            ]
        else:
            cases = [(mind, share, GOOD_FOR_COALITIONS) for mind in COLLUDERS for share in SHARES_OF_STAKE]
        for case in cases:
            mind, share, _ = case
            often = kind == "coalition" and mind == "always_accept" and tips(share)
            times = seeds * TIPPING_TIMES if often else seeds
            runs += [Run(kind, *case, seed, batches) for seed in range(1, times + 1)]
    return runs


def tips(share: float) -> bool:
    """Whether a coalition of such a share of the stake may take a campaign over."""
    return share >= TIPPING_SHARE


def played_all(runs: list[Run], jobs: int) -> dict[tuple[str, str, float, float], Summary]:
    """Everything by kind, mind, share and good items."""
    with Pool(jobs) as pool:
        results = pool.map(play, runs, chunksize=4)
    grouped: dict[tuple[str, str, float, float], list[Played]] = {}
    for run, result in zip(runs, results, strict=True):
        grouped.setdefault((run.kind, run.mind, run.share, run.good), []).append(result)
    return {case: summed(played) for case, played in grouped.items()}


def report(found: dict[tuple[str, str, float, float], Summary]) -> tuple[dict[str, Any], list[str]]:
    """Prints the tables; what is written, and what is not as it must be."""
    out: dict[str, Any] = {"lone": {}, "coalitions": {}, "committees": {}, "appeals": {}}
    wrong = _lone(found, out)
    _committees(found, out)
    wrong += _coalitions(found, out)
    _appeals(found, out)
    return out, wrong


def _lone(found: dict[tuple[str, str, float, float], Summary], out: dict[str, Any]) -> list[str]:
    wrong: list[str] = []
    print(
        "Pay as a share of the fee by share of good items: here, then the design's. A deviant sits alone among honest ones."
    )
    print(f"{'':16}" + "".join(f"{good:>18.0%}" for good in design.SHARES))
    for mind in ("honest", *DEVIATIONS):
        line, row = f"{mind:16}", {}
        for place, good in enumerate(design.SHARES):
            cases = [
                one
                for (kind, name, _, at), one in found.items()
                if kind == "lone" and at == good and mind in (name, "honest")
            ]
            if not cases:
                continue
            value = mean(one.honest if mind == "honest" else one.others for one in cases)
            spread = mean(one.honest_spread if mind == "honest" else one.others_spread for one in cases)
            beside = mean(one.honest for one in cases)
            row[f"{good}"] = {
                "pay": round(value, 4),
                "spread": round(spread, 4),
                "honest_beside": round(beside, 4),
                "design": design.PAY[mind][place],
            }
            line += f"{value:>10.3f}/{design.PAY[mind][place]:>7.3f}"
            if mind != "honest" and value >= beside:
                wrong.append(f"{mind} earns {value:.3f} at {good:.0%} good items, honest work {beside:.3f}")
        out["lone"][mind] = row
        print(line)
    return wrong


def _committees(found: dict[tuple[str, str, float, float], Summary], out: dict[str, Any]) -> None:
    print(
        "\nCommittees with one deviant: accuracy, false accepts, false rejects, seats an item, second rounds"
    )
    for good in design.SHARES:
        cases = [one for (kind, _, _, at), one in found.items() if kind == "lone" and at == good]
        if not cases:
            continue
        names = ("accuracy", "false_accepts", "false_rejects", "seats_per_item", "escalated")
        row = {name: round(mean(one.of(name) for one in cases), 4) for name in names}
        out["committees"][f"{good}"] = row
        print(f"{good:>6.0%}  " + "  ".join(f"{value:.4f}" for value in row.values()))
    print(
        f"design: false accepts {design.FALSE_ACCEPTS}, false rejects {design.FALSE_REJECTS}, seats {design.SEATS_PER_ITEM}"
    )


def _coalitions(found: dict[tuple[str, str, float, float], Summary], out: dict[str, Any]) -> list[str]:
    wrong: list[str] = []
    print(
        "\nCoalitions at 70 % good items: honest pay and its standard error, theirs, accuracy, campaigns taken over "
        "(the design's honest pay, theirs, accuracy); own spam accepted"
    )
    for (kind, mind, share, _), one in found.items():
        if kind not in ("coalition", "crowd"):
            continue
        name = f"{mind} {share}" if kind == "coalition" else f"{mind} {share} of {CROWD}"
        accuracy, spam = one.of("accuracy"), one.of("spam_accepted")
        known = design.COALITIONS.get((mind, share)) if kind == "coalition" else None
        row: dict[str, Any] = {
            "honest": round(one.honest, 4),
            "honest_error": round(one.honest_error, 4),
            "colluders": round(one.others, 4),
            "honest_spread": round(one.honest_spread, 4),
            "accuracy": round(accuracy, 4),
            "taken_over": round(one.taken_over, 4),
            "seats_per_item": round(one.of("seats_per_item"), 3),
            "campaigns": len(one.played),
        }
        line = f"{name:24} {one.honest:>6.3f} ±{one.honest_error:.3f} {one.others:>7.3f} {accuracy:.3f} {one.taken_over:>5.0%}"
        if mind == "own_spam":
            row |= {"spam_accepted": round(spam, 4), "design_spam_accepted": design.SPAM.get(share)}
            line += f"  spam {spam:.4f}" + (f" ({design.SPAM[share]:.3f})" if share in design.SPAM else "")
        if known is not None:
            row["design"] = known
            line += "  ({:.3f} {:.3f} {:.3f})".format(*known)
            least = known[0] - design.COALITION_SPREAD[share] - 2 * one.honest_error
            if one.honest < least:
                wrong.append(
                    f"beside {name} honest work earns {one.honest:.3f}, the design's at least {least:.3f}"
                )
        out["coalitions"][name] = row
        print(line)
    return wrong


def _appeals(found: dict[tuple[str, str, float, float], Summary], out: dict[str, Any]) -> None:
    for (kind, *_), one in found.items():
        if kind != "appeals":
            continue
        for which, known in design.APPEALS.items():
            turned = sum(played.appeals[which][0] for played in one.played)
            tried = sum(played.appeals[which][1] for played in one.played)
            share = turned / tried if tried else 0.0
            out["appeals"][which] = {"turned": turned, "of": tried, "share": round(share, 4), "design": known}
            beside = f" ({known})" if known is not None else ""
            print(f"\nAppeals of {which} rejections: {turned} of {tried} turned, {share:.3f}{beside}", end="")
    print()


def _mean_of(pay: dict[str, float], prefix: str) -> float:
    found = [value for name, value in pay.items() if name.startswith(prefix)]
    return mean(found) if found else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make people", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two seeds and short campaigns; writes nothing")
    parser.add_argument("--seeds", type=int, default=8, help="campaigns of each case (default: 8)")
    parser.add_argument("--batches", type=int, default=60, help="batches of a campaign (default: 60)")
    cores = min(2, os.cpu_count() or 1)
    parser.add_argument("--jobs", type=int, default=cores, help=f"processes (default: {cores})")
    given = parser.parse_args()
    seeds, batches = (2, 24) if given.quick else (given.seeds, given.batches)
    began = time.monotonic()
    found = played_all(runs_of(seeds, batches, KINDS), given.jobs)
    out, wrong = report(found)
    took = time.monotonic() - began
    print(f"\n{seeds} seeds, {batches} batches of 20 items, {REVIEWERS} honest reviewers: {took:.0f} s")
    if not given.quick:
        out["seeds"], out["batches"], out["reviewers"] = seeds, batches, REVIEWERS
        RESULTS.write_text(json.dumps(out, indent=2) + "\n", encoding="utf-8")
        print(f"written to {RESULTS}")
    for line in wrong:
        print(f"{'note' if given.quick else 'error'}: {line}", file=sys.stderr)
    return int(bool(wrong) and not given.quick)


if __name__ == "__main__":
    sys.exit(main())
