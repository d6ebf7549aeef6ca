"""``make soak MINUTES=10``: runs the soak, says what happens, and ends with status 1 where anything did not hold."""

import argparse
import logging
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from deploy.devnet.process import DevnetError
from tests.soak import chains
from tests.soak.acts import Acts
from tests.soak.listener import Listener
from tests.soak.looks import Looks
from tests.soak.net import P2P_PORT, VALIDATORS, SoakNet
from tests.soak.places import Town, missing, sweep

EXIT_SKIPPED: Final = 77
EXIT_INTERRUPTED: Final = 130

Say = Callable[[str], None]


def run(minutes: float, folder: Path, say: Say) -> list[str]:
    """What did not hold; empty where all did. Raises DevnetError where the net does not get on."""
    until = time.monotonic() + 60 * minutes
    for name in sweep():
        say(f"removed {name}, which a soak that was killed had left behind")
    with Town(VALIDATORS + 2) as town:
        *houses, outside = town.places
        net = SoakNet(folder / "net", houses)
        looks = Looks(net.steady)
        listener = Listener(outside, net.genesis, [(place.address, P2P_PORT) for place in houses])
        acts = Acts(town, net, looks, say)
        try:
            listener.start()
            acts.double_voter()
            acts.partition(2)
            acts.epochs(1)
            acts.kill_in_turn(until)
            acts.finish()
        finally:
            looks.stop()
            listener.stop()
            net.kill()
    violations, figures = chains.check(
        [node.home for node in net.steady],
        net.genesis,
        [node.account.address for node in net.validators],
        net.doubled.account.address,
        tuple(listener.votes.values()),
        int(time.time() * 1_000),
    )
    figures |= {"kills": acts.kills, "partitions": acts.cuts, "looks": looks.looks}
    say(", ".join(f"{name} {value}" for name, value in figures.items()))
    say(acts.recovery_text())
    return [*looks.violations, *violations]


def main(arguments: Sequence[str]) -> int:
    """0: all held; 1: something did not; 77: this machine can't do it, and said why; 130: interrupted."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    given = parser.parse_args(arguments)
    if reason := missing():
        print(f"soak skipped: {reason}", file=sys.stderr)
        return EXIT_SKIPPED
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR)
    )  # the listener's host
    signal.signal(signal.SIGTERM, _as_interrupt)  # so that it cleans up after itself then, too
    folder = Path(tempfile.mkdtemp(prefix="omnitensor-soak-"))
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:7.1f} s  {text}", flush=True)

    try:
        violations = run(given.minutes, folder, say)
    except DevnetError as error:
        violations = [str(error)]
    except KeyboardInterrupt:
        say("interrupted; everything that it made is gone")
        shutil.rmtree(folder)
        return EXIT_INTERRUPTED
    for violation in violations:
        print(f"VIOLATION: {violation}", file=sys.stderr)
    if violations:
        print(f"kept for looking at: {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    say("all held")
    return 0


def _as_interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
