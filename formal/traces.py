"""Turns executions of the model into the compact traces that the Python core is replayed against, and chooses among them.

Knows the simulator's trace format (ITF) and the variables of `eager.qnt`; runs nothing.

A trace is one JSON object: `weights`, `hostile`, `leaders` (of view `v`: `leaders[v % len]`), and `steps`. A step says what
happened (`do`, `who`, `kind`, `view`, `cand`), what follows for the validator it happened to (`view`, `final`, and what it
`says`: votes as [kind, view, candidate]) and which candidates are new ([number, view, parent, valid, kind of the parent's
certificate]). Candidate 0 is the root.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

VIEWS_MAX = 10
"""A trace ends before a validator goes beyond this view: then an implementation may give up a leader as inactive (R4)."""
TRACE_BYTES_MAX = 40 * 1024
COUNTED_MAX = 3
"""More of one kind of happening make a trace no better."""


def plain(value: Any) -> Any:
    """A value of an ITF file as Python has it: integers, sets as sorted lists, maps as dictionaries."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "#bigint" in value:
        return int(value["#bigint"])
    if "#set" in value:
        return sorted((plain(item) for item in value["#set"]), key=repr)
    if "#map" in value:
        return {plain(key): plain(item) for key, item in value["#map"]}
    return {name: plain(item) for name, item in value.items() if name != "#meta"}


def claim(record: dict[str, Any]) -> tuple[str, int, int]:
    return record["kind"], record["view"], record["cand"]


def compact(itf: dict[str, Any]) -> dict[str, Any]:
    """The trace of one execution."""
    states = [plain(state) for state in itf["states"]]
    setup = states[0]["setup"]
    steps = []
    for before, after in pairwise(states):
        if any(validator["view"] > VIEWS_MAX for validator in after["validators"].values()):
            break
        steps.append(step(before, after))
    return {
        "weights": [setup["weights"][i] for i in range(len(setup["weights"]))],
        "hostile": setup["hostile"],
        "leaders": [setup["leaders"][i] for i in range(len(setup["leaders"]))],
        "steps": steps,
    }


def step(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    deed = after["did"]
    who = deed["who"]
    kind, view, cand = claim(deed["about"])
    found: dict[str, Any] = {"do": deed["what"], "who": who, "kind": kind, "view": view, "cand": cand}
    if who in after["validators"]:
        said = {claim(c) for c in after["votes"][who]} - {claim(c) for c in before["votes"][who]}
        validator = after["validators"][who]
        found["then"] = {"view": validator["view"], "final": validator["final"], "says": sorted(said)}
    new = [number for number in sorted(after["cands"]) if number not in before["cands"]]
    if new:
        found["new"] = [
            [number, c["view"], c["parent"], c["valid"], c["basis"]]
            for number in new
            for c in [after["cands"][number]]
        ]
    return found


def happenings(trace: dict[str, Any]) -> Counter[str]:
    """What a trace has in it, and how often."""
    found: Counter[str] = Counter()
    view_of, final_of = Counter[int](), Counter[int]()
    signed: set[tuple[int, str, int]] = set()
    offered: Counter[int] = Counter()
    parents = {0: (0, 0)}
    for one in trace["steps"]:
        for number, view, parent, valid, basis in one.get("new", ()):
            parents[number] = (view, parent)
            offered[view] += 1
            found["two candidates in a view"] += offered[view] > 1
            found["invalid candidate"] += not valid
            found["views crossed"] += view > parents[parent][0] + 1
            found[f"parent's {basis}"] += parent > 0
        found[one["do"]] += 1
        if "then" not in one:
            continue
        who, then = one["who"], one["then"]
        if one["do"] == "certificate":
            found[f"{one['kind']} certificate"] += 1
            found["certificate ahead"] += one["view"] > view_of[who] > 0
            found["certificate behind"] += one["view"] < view_of[who]
        found["second proposal"] += one["do"] == "proposal" and offered[one["view"]] > 1
        found["several views at once"] += then["view"] > view_of[who] + 1 > 1
        found["restart that remembers"] += one["do"] == "restart" and any(who == i for i, _, _ in signed)
        for kind, view, _ in then["says"]:
            found[f"votes {kind}"] += 1
            found["votes in a view that it left"] += view < then["view"] - 1
            found["notarizes after skip"] += kind == "notarize" and (who, "skip", view) in signed
            found["skips at once"] += kind == "skip" and one["do"] not in ("timeout", "leader skips")
            signed.add((who, kind, view))
        found["commit"] += then["final"] != final_of[who]
        found["commit of several"] += (
            then["final"] != final_of[who] and parents[then["final"]][1] != final_of[who]
        )
        view_of[who], final_of[who] = then["view"], then["final"]
    found[f"{len(trace['weights'])} validators"] += 1
    found[f"{len(trace['hostile'])} hostile"] += 1
    return found


def choose(traces: Iterable[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Those that together have most in them, one after the other."""
    left = [(trace, happenings(trace)) for trace in traces if len(line(trace)) < TRACE_BYTES_MAX]
    chosen: list[dict[str, Any]] = []
    covered: Counter[str] = Counter()
    while left and len(chosen) < count:
        goal = COUNTED_MAX * (len(chosen) + 1)

        def gain(item: tuple[dict[str, Any], Counter[str]], goal: int = goal) -> int:
            return sum(min(n, COUNTED_MAX, max(0, goal - covered[what])) for what, n in item[1].items())

        best = max(left, key=gain)
        left.remove(best)
        chosen.append(best[0])
        covered.update(best[1])
    return chosen


def line(trace: dict[str, Any]) -> str:
    """A trace as it is stored."""
    return json.dumps(trace, separators=(",", ":")) + "\n"


def read(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """The traces of ITF files."""
    return [compact(json.loads(path.read_text(encoding="utf-8"))) for path in paths]


def write(traces: list[dict[str, Any]], folder: Path) -> None:
    """Replace the stored traces."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    for number, trace in enumerate(traces):
        (folder / f"{number:02}.json").write_text(line(trace), encoding="utf-8")
