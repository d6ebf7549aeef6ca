"""Plant every fault and print in how many seeds each was seen: ``python -m tests.simulation.mutants [NAME ...]``.

Exits 1 when one was not seen.
"""

import sys

from tests.simulation.mutants import BY_NAME, MUTANTS, hunt


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        print(
            f"error: no such planted fault: {unknown[0]!r}. There are: {', '.join(BY_NAME)}", file=sys.stderr
        )
        return 2
    unseen = 0
    for mutant in [BY_NAME[name] for name in names] or MUTANTS:
        caught = hunt(mutant)
        if caught is None:
            unseen += 1
            print(f"{mutant.name}: NOT SEEN in {mutant.seeds_max} seeds")
        else:
            print(f"{mutant.name}: {caught}", flush=True)
    print(f"{len(names) or len(MUTANTS)} planted, {unseen} not seen")
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
