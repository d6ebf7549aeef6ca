"""Plays many seeds, in processes side by side, with a line of progress and a summary; an interrupt brings the summary so far."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from consensus.stake.knowledge import Rule
from tests.simulation.parallel import Interrupt, in_parallel
from tests.simulation.scenario import scenario_of
from tests.simulation.world import Outcome, World

LINE_SECONDS = 1.0
LOG_LINE_SECONDS = 30.0
RULES_EXPECTED_FROM = 500
"""So many executions must see every rule at work."""
INTERRUPTED = 130


def play_seed(seed: int) -> Outcome:
    return World(scenario_of(seed)).run()


def replay_command(seed: int) -> str:
    return f"make sim SEED={seed} ARGS=--trace"


@dataclass
class Total:
    """What many executions came to."""

    wanted: int
    done: int = 0
    events: int = 0
    views: int = 0
    blocks: int = 0
    epochs: int = 0
    virtual_ms: int = 0
    validators: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    adversaries: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    ledger: Counter[str] = field(default_factory=Counter)
    bad: int = 0

    def add(self, outcome: Outcome) -> None:
        scenario = scenario_of(outcome.seed)
        self.done += 1
        self.events += outcome.events
        self.views += outcome.views
        self.blocks += outcome.height
        self.epochs += outcome.epochs
        self.virtual_ms += outcome.virtual_ms
        self.validators[scenario.size] += 1
        self.faults += outcome.faults
        self.adversaries.update(scenario.byzantine.values())
        self.adversaries.update(
            f"worker {kind}".rstrip() if kind else "honest worker" for kind in scenario.workers
        )
        self.rules += outcome.rules
        self.ledger += outcome.ledger
        self.bad += bool(outcome.violations)

    def never(self) -> list[str]:
        """Rules that never fired."""
        return [rule.name for rule in Rule if not self.rules[rule.name]]

    def lines(self, seconds: float) -> Iterator[str]:
        yield (
            f"{self.done} executions of {self.wanted}, {self.virtual_ms / 3_600_000:.2f} simulated hours,"
            f" {self.views} views, {self.blocks} blocks, {self.epochs} epochs begun, {self.events} events"
            f" in {seconds:.0f} s ({self.virtual_ms / 1000 / max(seconds, 0.001):.0f} simulated seconds a second)"
        )
        yield "validators: " + _counts({f"{size}:": n for size, n in self.validators.items()}, int_key)
        yield "faults: " + _counts(self.faults)
        yield "adversaries: " + _counts(self.adversaries)
        yield "on the ledger: " + (_counts(self.ledger) or "nothing")
        yield "rules fired:"
        for rule in Rule:
            yield f"  {rule.name:12} {self.rules[rule.name] or 'NEVER':>10}  {rule.value}"
        yield f"{self.bad} violated what must hold"


def int_key(name: str) -> int:
    return int(name.rstrip(":"))


def _counts(counted: dict[str, int] | Counter[str], key: object = None) -> str:
    return ", ".join(f"{name} {counted[name]}" for name in sorted(counted, key=key))  # type: ignore[call-overload]  # a key or None


def many(seeds: range, jobs: int) -> int:
    """Play a range of seeds and say what was seen. The exit status: 0 all good, 1 not, 130 interrupted with all good so far."""
    begun = shown = time.monotonic()
    live = sys.stdout.isatty()
    total, interrupt = Total(len(seeds)), Interrupt()
    print(f"playing seeds {seeds.start} to {seeds.stop - 1} in {jobs} processes", flush=True)
    for outcome in in_parallel(play_seed, seeds, jobs, interrupt):
        total.add(outcome)
        if outcome.violations:
            print(f"\nseed {outcome.seed}: {outcome.violations[0]}")
            print(f"  replay: {replay_command(outcome.seed)}")
            print(f"  make short: make sim SEED={outcome.seed} ARGS=--shrink", flush=True)
        if time.monotonic() - shown > (LINE_SECONDS if live else LOG_LINE_SECONDS):
            shown = time.monotonic()
            _progress(total, live)
    if interrupt.asked:
        print("\ninterrupted; so far:")
    _progress(total, live)
    print()
    for line in total.lines(time.monotonic() - begun):
        print(line)
    if total.bad:
        return 1
    if total.done >= RULES_EXPECTED_FROM and total.never():
        print(f"error: {total.done} executions, and these rules never fired: {', '.join(total.never())}")
        return 1
    return INTERRUPTED if interrupt.asked else 0


def _progress(total: Total, live: bool) -> None:
    line = f"{total.done}/{total.wanted} executions, {total.views} views, {total.bad} bad"
    print(f"\r{line}" if live else line, end="" if live else "\n", flush=True)
