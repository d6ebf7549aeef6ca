"""Runs the benchmarks, prints what came out, and writes it as one JSON object to ``benchmarks/results/latest.json``.

`python -m benchmarks.run [NAME ...]` runs only those named, and leaves the other numbers of the file as they were; the name `all`
runs every one, and prints a table of all numbers at the end. Those on a state of a million rows (`commitment`, `snapshots`,
`replay_1m`) take minutes and run only so.
"""

import importlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

RESULTS: Final = Path(__file__).parent / "results" / "latest.json"


@dataclass(frozen=True, slots=True)
class Aim:
    """A number that the project wants, and how its measurement compares."""

    at_least: float | None = None
    at_most: float | None = None

    def met(self, value: float) -> bool:
        """Whether a measured value is as good as this."""
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )

    def __str__(self) -> str:
        return f"at least {self.at_least}" if self.at_least is not None else f"at most {self.at_most}"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A module with ``measure() -> dict[str, float]``, and what it must measure."""

    name: str
    module: str
    measures: tuple[str, ...]
    by_name: bool = False
    """Takes minutes, so it runs only when it is named."""
    optional: bool = False
    """Left out where the module is absent, as in an installation of some rooms only."""


BENCHMARKS: Final = (
    Benchmark("replay", "benchmarks.replay", ("replay_share_of_ed25519",)),
    Benchmark(
        "consensus",
        "benchmarks.consensus",
        (
            "finality_message_delays",
            *(
                f"certificate_{what}_{size}"
                for size in (4, 21, 100)
                for what in ("bytes", "verify_ms", "build_ms")
            ),
            "simulation_speed",
        ),
    ),
    Benchmark(
        "commitment",
        "benchmarks.commitment",
        ("commitment_ms_1m_1000", "proof_bytes_p50", "commitment_load_s_1m"),
        by_name=True,
    ),
    Benchmark(
        "work",
        "benchmarks.work",
        ("receipt_bytes", "receipt_verify_ms_1024", "receipt_verify_share_1024", "work_overhead_1024"),
    ),
    Benchmark(
        "near_duplicates",
        "benchmarks.near_duplicates",
        tuple(
            f"near_duplicates_{what}"
            for what in ("precision", "recall", "minhash_precision", "minhash_recall")
        ),
    ),
    Benchmark(
        "snapshots",
        "benchmarks.snapshots",
        ("snapshot_import_rows_s", "snapshot_import_s_1m", "snapshot_take_s_1m", "snapshot_bytes_1m"),
        by_name=True,
    ),
    Benchmark(
        "replay_1m",
        "benchmarks.replay_1m",
        (
            "replay_share_of_ed25519_1m",
            "delegations_replay_share_of_ed25519_1m",
            "mixed_replay_share_of_ed25519_1m",
        ),
        by_name=True,
    ),
    Benchmark(
        "devnet",
        "benchmarks.devnet",
        ("finality_block_intervals_p50", "finality_block_intervals_p95", "node_rss_mb", "recovery_s"),
        optional=True,
    ),
    Benchmark("throughput", "benchmarks.throughput", ("tps_final_1", "tps_final_4"), optional=True),
)
ALL: Final = "all"
"""In place of names: every benchmark."""

AIMS: Final[dict[str, Aim]] = {
    "replay_share_of_ed25519": Aim(at_least=0.5),
    "replay_share_of_ed25519_1m": Aim(at_least=0.6),
    "commitment_ms_1m_1000": Aim(at_most=41),
    "proof_bytes_p50": Aim(at_most=1_600),
    "receipt_bytes": Aim(at_most=256),
    "receipt_verify_share_1024": Aim(at_most=0.56),
    "work_overhead_1024": Aim(at_most=0.6),
    "near_duplicates_precision": Aim(at_least=0.99),
    "near_duplicates_recall": Aim(at_least=0.95),
    "near_duplicates_minhash_precision": Aim(at_least=0.98),
    "near_duplicates_minhash_recall": Aim(at_least=0.95),
    "snapshot_import_rows_s": Aim(at_least=20_000),
    "finality_message_delays": Aim(at_most=3.0),
    "finality_block_intervals_p50": Aim(at_most=1.5),
    "node_rss_mb": Aim(at_most=150),
    "recovery_s": Aim(at_most=3),
}


def main(names: list[str]) -> int:
    """Runs the named benchmarks, or all but the long ones; the exit code says whether they ran, not whether aims were met."""
    known = [benchmark.name for benchmark in BENCHMARKS]
    is_all = names == [ALL]
    names = known if is_all else names
    for name in names:
        if name not in known:
            sys.stderr.write(
                f"error: there is no benchmark {name} (there are: {', '.join(known)}; or {ALL})\n"
            )
            return 2
    found: dict[str, Any] = {}
    for benchmark in BENCHMARKS:
        if benchmark.name not in names and (names or benchmark.by_name):
            continue
        module = _module(benchmark)
        if module is None:
            sys.stdout.write(f"{benchmark.name}: left out, {benchmark.module} is not installed\n")
            continue
        sys.stdout.write(f"{benchmark.name} ...\n")
        sys.stdout.flush()
        start = time.perf_counter()
        measured: dict[str, float] = module.measure()
        missing = [name for name in benchmark.measures if name not in measured]
        if missing:
            raise RuntimeError(f"{benchmark.module} did not measure {', '.join(missing)}")
        for name, value in measured.items():
            sys.stdout.write(_line(name, value))
        sys.stdout.write(f"  ({time.perf_counter() - start:.0f} s)\n")
        found |= measured
    _write(found, keep=bool(names) and not is_all)
    if is_all:
        sys.stdout.write("\n" + "".join(_line(name, value) for name, value in sorted(found.items())))
    return 0


def _module(benchmark: Benchmark) -> ModuleType | None:
    try:
        return importlib.import_module(benchmark.module)
    except ModuleNotFoundError as error:
        if benchmark.optional and error.name == benchmark.module:
            return None
        raise


def _line(name: str, value: float) -> str:
    aim = AIMS.get(name)
    verdict = "" if aim is None else f"  aim: {aim}{'' if aim.met(value) else ', MISSED'}"
    return f"  {name:34} {value:>12,.3f}{verdict}\n"


def _write(found: dict[str, Any], *, keep: bool) -> None:
    """Writes the file whole or not at all."""
    before: dict[str, Any] = {}
    if keep and RESULTS.exists():
        before = json.loads(RESULTS.read_text(encoding="utf-8"))
    version = ".".join(str(part) for part in sys.version_info[:3])
    whole = before | found | {"python": version, "cpu_count": os.cpu_count()}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    building = RESULTS.with_suffix(".new")
    building.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    building.replace(RESULTS)
    sys.stdout.write(f"written to {RESULTS}\n")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
