"""Simulated executions on the command line: one seed or scenario, many seeds, or a failing one made short.

``python -m tests.simulation.run --seed 7 [--mutant NAME] [--trace] [--shrink]``, ``--scenario FILE``, ``--seeds 1000 --jobs 2``.
Exits 1 when an execution violated what must hold, and prints the one command that replays it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.simulation.mutants import BY_NAME, scenario_for
from tests.simulation.scenario import Scenario, scenario_of
from tests.simulation.scenario_files import load, to_text
from tests.simulation.search import many, play_seed, replay_command
from tests.simulation.shrink import shrink, size_of
from tests.simulation.world import Product, World

__all__ = ["play_seed", "replay_command"]


def one(scenario: Scenario, product: Product | None, trace: bool) -> int:
    """Play one scenario and tell of it."""
    world = World(scenario, product, trace=trace)
    outcome = world.run()
    if world.lines is not None and world.story is not None:
        print("\n".join(world.lines))
        print("\n".join(["", *world.story.table(), ""]))
    print(f"scenario: {scenario}")
    print(
        f"{outcome.virtual_ms} ms of virtual time, {outcome.events} events, {outcome.views} views,"
        f" height {outcome.height}, trace {outcome.trace_hash[:16]}"
    )
    print("faults:", dict(sorted(outcome.faults.items())))
    print("rules:", dict(sorted(outcome.rules.items())))
    if outcome.ledger:
        print("on the ledger:", dict(sorted(outcome.ledger.items())))
    for violation in outcome.violations:
        print("VIOLATION:", violation)
    return 1 if outcome.violations else 0


def make_short(scenario: Scenario, mutant: str, out: Path) -> int:
    """Shrink a failing scenario, write it down, and show what happens in it."""
    product = BY_NAME[mutant].product if mutant else None
    shrunk = shrink(scenario, product, tell=lambda line: print(line, flush=True))
    if shrunk is None:
        print("this scenario violates nothing: there is nothing to make short")
        return 0
    out.write_text(to_text(shrunk.scenario, mutant), "utf-8")
    world = World(shrunk.scenario, product, trace=True, brief=True)
    world.run()
    assert world.story is not None
    print("\n".join(["", *world.story.table(), ""]))
    print(to_text(shrunk.scenario, mutant), end="")
    print(f"VIOLATION: {shrunk.violation}")
    print(
        f"from size {size_of(scenario)} to {size_of(shrunk.scenario)} in {shrunk.tries} executions; replay with:"
    )
    print(f'  make sim ARGS="--scenario {out} --trace"')
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Simulate consensus under seeded faults.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int, help="play one execution")
    what.add_argument("--seeds", type=int, help="play so many")
    what.add_argument("--scenario", type=Path, help="play the execution that a file describes")
    parser.add_argument("--start", type=int, default=0, help="first seed of many (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--mutant", default="", help="plant a fault (make mutants lists them)")
    parser.add_argument(
        "--trace", action="store_true", help="print what happened, line by line and as a table"
    )
    parser.add_argument("--shrink", action="store_true", help="make a failing execution short")
    parser.add_argument("--out", type=Path, help="where the short one is written (default shrunk-SEED.json)")
    options = parser.parse_args()
    if options.mutant and options.mutant not in BY_NAME:
        parser.error(f"no such planted fault: {options.mutant!r}")
    if options.seeds is not None:
        return many(range(options.start, options.start + options.seeds), max(1, options.jobs))
    mutant: str = options.mutant
    if options.scenario is not None:
        try:
            scenario, planted = load(options.scenario)
        except (OSError, ValueError) as error:
            parser.error(f"{options.scenario}: {error}")
        mutant = mutant or planted
    else:
        scenario = scenario_for(BY_NAME[mutant], options.seed) if mutant else scenario_of(options.seed)
    if options.shrink:
        return make_short(scenario, mutant, options.out or Path(f"shrunk-{scenario.seed}.json"))
    return one(scenario, BY_NAME[mutant].product if mutant else None, options.trace)


if __name__ == "__main__":
    sys.exit(main())
