"""`make histories`: one long random history against the model."""

from __future__ import annotations

import argparse
import sys

from tests.model.histories import history, never_ok, told


def main() -> int:
    parser = argparse.ArgumentParser(prog="make histories", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--transactions", type=int, default=200_000)
    parser.add_argument("--few", action="store_true", help="do not ask that something came of every kind")
    asked = parser.parse_args()
    scene = history(asked.seed, asked.transactions, report_every=10_000)
    print(f"seed {asked.seed}")
    print(told(scene))
    if not asked.few and (missing := never_ok(scene)):
        print(f"error: nothing came of {', '.join(missing)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
