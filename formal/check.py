"""Runs the model: types, invariants, planted faults, and new traces for the Python core.

    python -m formal.check --seed 1 --samples 300

Needs Quint in `formal/node_modules` (`make model` sees to it). Exits with 1 at the first thing that does not hold.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from formal import traces

HERE = Path(__file__).resolve().parent
QUINT = HERE / "node_modules" / ".bin" / "quint"
TRACES = HERE.parent / "tests" / "consensus" / "traces"
STEPS = 60
TRACES_KEPT = 20
TRACES_DRAWN = 150
TRACE_SEED = 2023
RUN_SECONDS_MAX = 3_600


class Broken(Exception):
    """Something about the model does not hold. The message says what."""


@dataclass(frozen=True)
class Fault:
    """A planted fault: where an execution of it begins, and an invariant that it must violate."""

    name: str
    init: str
    invariant: str


FAULTS = (
    Fault("majority quorum", "initMajorityQuorum", "oneNotarization"),
    Fault("majority quorum", "initMajorityQuorum", "noFork"),
    Fault("finalize after skip", "initFinalizeAfterSkip", "skipOrFinal"),
    Fault("finalize after skip", "initFinalizeAfterSkip", "noConviction"),
    Fault("no skip-certificate check", "initNoSkipCertificates", "noFork"),
    Fault("notarize twice", "initNotarizeTwice", "oneNotarization"),
    Fault("votes not durable", "initVotesNotDurable", "noConviction"),
    Fault("more than a third hostile", "initTooManyHostile", "noFork"),
)

WITNESSES = (
    "seesSkip",
    "seesFinal",
    "seesChain",
    "seesSkippedFinal",
    "seesBothCertificates",
    "seesEquivocation",
    "seesNotarizeAndSkip",
)


def quint(*arguments: str) -> tuple[int, str]:
    """Exit status and output of one call."""
    done = subprocess.run(
        [str(QUINT), *arguments],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS_MAX,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def simulate(file: str, seed: int, samples: int, *more: str) -> tuple[int, str]:
    return quint(
        "run",
        file,
        "--backend=typescript",
        f"--max-samples={samples}",
        f"--max-steps={STEPS}",
        f"--seed={seed}",
        "--verbosity=1",
        *more,
    )


def check_types() -> None:
    for file in ("simplex.qnt", "eager.qnt"):
        status, output = quint("typecheck", file)
        if status:
            raise Broken(f"{file} has the wrong types:\n{output}")


def check_safe(file: str, seed: int, samples: int, *more: str) -> str:
    """That the invariants hold, and that they had something to hold for."""
    status, output = simulate(file, seed, samples, *more, "--witnesses", *WITNESSES)
    if status:
        raise Broken(f"{file} with seed {seed}, exit status {status}:\n{output}")
    seen = dict(re.findall(r"^(sees\w+) was witnessed in (\d+) trace", output, re.MULTILINE))
    for witness in WITNESSES:
        if int(seen.get(witness, 0)) == 0:
            raise Broken(f"{file}: {witness} never happened in {samples} executions; draw more of them")
    return ", ".join(f"{witness.removeprefix('sees')} in {seen[witness]}" for witness in WITNESSES)


def check_fault(fault: Fault, seed: int, samples: int) -> None:
    status, output = simulate(
        "simplex.qnt", seed, samples, f"--init={fault.init}", f"--invariant={fault.invariant}"
    )
    if status == 0:
        raise Broken(f"{fault.name}: {fault.invariant} held in {samples} executions, so it sees nothing")
    if "[violation]" not in output:
        raise Broken(f"{fault.name}: the simulator failed otherwise:\n{output}")


def draw_traces(seed: int) -> int:
    """Draw executions, keep those that show most. The seed alone decides which."""
    with tempfile.TemporaryDirectory() as folder:
        status, output = simulate(
            "eager.qnt",
            seed,
            TRACES_DRAWN,
            *EAGER,
            f"--n-traces={TRACES_DRAWN}",
            f"--out-itf={folder}/{{seq}}.itf.json",
        )
        if status:
            raise Broken(f"no traces:\n{output}")
        paths = sorted(Path(folder).glob("*.itf.json"), key=lambda path: int(path.name.split(".")[0]))
        chosen = traces.choose(traces.read(paths), TRACES_KEPT)
    if len(chosen) < TRACES_KEPT:
        raise Broken(f"only {len(chosen)} traces of {TRACES_DRAWN} are small enough")
    traces.write(chosen, TRACES)
    return sum(len(trace["steps"]) for trace in chosen)


EAGER = ("--init=initEager", "--step=stepEager")


def check(seed: int, samples: int) -> None:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", flush=True)

    check_types()
    say("types hold")
    say("simplex: " + check_safe("simplex.qnt", seed, samples, "--invariant=safe"))
    say("eager: " + check_safe("eager.qnt", seed, samples, *EAGER, "--invariant=safeEager"))
    for fault in FAULTS:
        check_fault(fault, seed, samples)
        say(f"{fault.name}: violates {fault.invariant}")
    say(f"{TRACES_KEPT} traces with {draw_traces(TRACE_SEED)} steps in {TRACES.relative_to(HERE.parent)}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="formal.check", description="Check the formal model.")
    parser.add_argument("--seed", type=int, default=1, help="of the executions (default 1)")
    parser.add_argument("--samples", type=int, default=300, help="executions of each kind (default 300)")
    options = parser.parse_args()
    try:
        check(options.seed, options.samples)
    except Broken as broken:
        print(f"error: {broken}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
