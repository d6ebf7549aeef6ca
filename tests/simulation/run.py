"""Run simulated executions: ``python -m tests.simulation.run --seed 7 [--trace]``, or ``--seeds 1000 --jobs 2 [--start 0]``.

Exits 1 when an execution violated what must hold, and prints the one command that replays it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.scenario import scenario_of
from tests.simulation.world import Outcome, World

LINE_SECONDS = 1.0


def play_seed(seed: int) -> Outcome:
    return World(scenario_of(seed)).run()


def replay_command(seed: int) -> str:
    return f"make sim SEED={seed} ARGS=--trace"


def one(seed: int, trace: bool) -> int:
    """Play one seed and tell of it."""
    scenario = scenario_of(seed)
    world = World(scenario, trace=trace)
    outcome = world.run()
    if world.lines is not None:
        print("\n".join(world.lines))
    print(f"seed {seed}: {scenario}")
    print(
        f"{outcome.virtual_ms} ms of virtual time, {outcome.events} events, {outcome.views} views,"
        f" height {outcome.height}, trace {outcome.trace_hash[:16]}"
    )
    print("faults:", dict(sorted(outcome.faults.items())))
    print("rules:", dict(sorted(outcome.rules.items())))
    for violation in outcome.violations:
        print("VIOLATION:", violation)
    return 1 if outcome.violations else 0


def outcomes(seeds: range, jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        yield from map(play_seed, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(play_seed, seeds, chunksize=8)


def many(seeds: range, jobs: int) -> int:
    """Play a range of seeds with a line of progress, then say what was seen."""
    begun = shown = time.monotonic()
    done = events = views = virtual_ms = 0
    faults: Counter[str] = Counter()
    rules: Counter[str] = Counter()
    bad: list[Outcome] = []
    for outcome in outcomes(seeds, jobs):
        done += 1
        events += outcome.events
        views += outcome.views
        virtual_ms += outcome.virtual_ms
        faults += outcome.faults
        rules += outcome.rules
        if outcome.violations:
            bad.append(outcome)
            print(f"\nseed {outcome.seed}: {outcome.violations[0]}\n  replay: {replay_command(outcome.seed)}")
        if time.monotonic() - shown > LINE_SECONDS or done == len(seeds):
            shown = time.monotonic()
            print(f"\r{done}/{len(seeds)} executions, {views} views, {len(bad)} bad", end="", flush=True)
    seconds = time.monotonic() - begun
    print(
        f"\n{done} executions, {virtual_ms / 3_600_000:.1f} simulated hours, {views} views, {events} events"
        f" in {seconds:.0f} s ({virtual_ms / 1000 / max(seconds, 0.001):.0f} simulated seconds a second)"
    )
    print("faults:", ", ".join(f"{name} {count}" for name, count in sorted(faults.items())))
    print("rules fired:", ", ".join(f"{name} {count}" for name, count in sorted(rules.items())))
    print(f"{len(bad)} violated what must hold")
    return 1 if bad else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Simulate consensus under seeded faults.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int, help="play one execution")
    what.add_argument("--seeds", type=int, help="play so many")
    parser.add_argument("--start", type=int, default=0, help="first seed of many (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--trace", action="store_true", help="print what happened, line by line")
    options = parser.parse_args()
    if options.seed is not None:
        return one(options.seed, options.trace)
    return many(range(options.start, options.start + options.seeds), max(1, options.jobs))


if __name__ == "__main__":
    sys.exit(main())
