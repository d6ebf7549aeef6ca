"""The Python core takes every step that the formal model takes, and planted faults make it part from the model.

The traces are stored; `make model` draws them anew. Nothing here needs the model's tools.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from consensus.stake.core import Core
from tests.consensus.model_replay import Parted, Product, Replay
from tests.simulation.mutants.rules import AmnesiacCore, EagerCore, FinalizeAfterSkipCore, UnexecutedCore
from tests.simulation.mutants.store import CarelessStore, ForgetfulStore

ROOT = Path(__file__).resolve().parents[2]
PATHS = sorted((ROOT / "tests" / "consensus" / "traces").glob("*.json"))
TRACE_BYTES_MAX = 40 * 1024


def trace_of(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def parts(product: Product) -> int:
    """How many traces a product can't follow."""
    found = 0
    for path in PATHS:
        try:
            Replay(trace_of(path), product).run()
        except Parted:
            found += 1
    return found


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_core_takes_every_step_of_the_model(path: Path) -> None:
    Replay(trace_of(path)).run()


def test_traces_cover_the_rules_and_all_that_can_happen() -> None:
    assert len(PATHS) >= 20
    rules: set[str] = set()
    deeds: set[str] = set()
    said: set[str] = set()
    for path in PATHS:
        assert path.stat().st_size < TRACE_BYTES_MAX
        trace = trace_of(path)
        replay = Replay(trace)
        replay.run()
        rules |= replay.rules
        deeds |= {step["do"] for step in trace["steps"]}
        said |= {kind for step in trace["steps"] if "then" in step for kind, _, _ in step["then"]["says"]}
    assert rules >= {"R0", "R1", "R2", "R3", "R4", "R4_EARLY", "R5", "R6", "R7", "R9"}
    assert said == {"notarize", "skip", "finalize"}
    assert deeds == {
        "start",
        "proposal",
        "candidate",
        "certificate",
        "timeout",
        "leader skips",
        "restart",
        "hostile proposal",
    }


@pytest.mark.parametrize(
    "product",
    [
        Product(core=FinalizeAfterSkipCore),
        Product(core=FinalizeAfterSkipCore, store=CarelessStore),
        Product(core=AmnesiacCore),
        Product(store=ForgetfulStore),
        Product(core=EagerCore, store=CarelessStore),
        Product(core=UnexecutedCore),
    ],
    ids=lambda product: f"{product.core.__name__}-{product.store.__name__}",
)
def test_planted_fault_parts_from_the_model(product: Product) -> None:
    assert parts(product) > 0


class LateCore(Core):
    """R5 left out: safe, but not what the model does."""

    def _r5_finalize(self) -> None:
        pass


class StuckCore(Core):
    """R6 left out."""

    def _r6_commit(self) -> None:
        pass


@pytest.mark.parametrize("core", [LateCore, StuckCore])
def test_missing_rule_parts_from_the_model(core: type[Core]) -> None:
    assert parts(Product(core=core)) > 0


def altered(trace: dict[str, Any], what: str) -> dict[str, Any]:
    """A trace with one thing wrong in its last step that ends in a vote."""
    wrong = deepcopy(trace)
    step = [step for step in wrong["steps"] if step.get("then", {}).get("says")][-1]
    match what:
        case "view":
            step["then"]["view"] += 1
        case "vote":
            step["then"]["says"].pop()
        case "another vote":
            step["then"]["says"].append(["skip", 40, 0])
        case "final":
            step["then"]["final"] = max(line[0] for one in wrong["steps"] for line in one.get("new", ()))
        case "unknown step":
            step["do"] = "wonder"
        case "forged certificate":
            step.update({"do": "certificate", "kind": "skip", "view": 9, "cand": 0})
    return wrong


@pytest.mark.parametrize(
    "what", ["view", "vote", "another vote", "final", "unknown step", "forged certificate"]
)
def test_replay_notices_a_trace_that_is_wrong(what: str) -> None:
    trace = trace_of(PATHS[0])
    Replay(trace).run()
    with pytest.raises(Parted):
        Replay(altered(trace, what)).run()


def test_tools_of_the_model_are_pinned_and_name_no_host() -> None:
    package = json.loads((ROOT / "formal" / "package.json").read_text(encoding="utf-8"))
    lock = json.loads((ROOT / "formal" / "package-lock.json").read_text(encoding="utf-8"))
    packages = lock["packages"]
    for name, version in {**package["devDependencies"], **package["overrides"]}.items():
        assert packages[f"node_modules/{name}"]["version"] == version
    for path, entry in packages.items():
        assert "resolved" not in entry, f"{path} names where it came from"
        assert not path or entry["integrity"], f"{path} has no checksum"
