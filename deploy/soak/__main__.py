"""``make soak MINUTES=10``: runs the soak, says what happens, and ends with status 1 where anything did not hold."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from deploy.devnet import calls
from deploy.devnet.process import DevnetError
from deploy.soak.checks import Checks
from deploy.soak.namespaces import Town, missing
from deploy.soak.net import VALIDATORS, HousedNode, SoakNet
from omnitensor.protocol.bodies import Scope, SessionKeyAdd
from omnitensor.protocol.types import Height
from omnitensor.sdk import AsyncClient, Wallet

KILL_EVERY_SECONDS: Final = 4.0
DOWN_SECONDS: Final = 1.0
CUT_SECONDS: Final = 8.0
PROGRESS_SECONDS_MAX: Final = 90.0
"""Within so long after everybody is back, blocks become final again. A machine under load takes a good part of it."""
EXIT_SKIPPED: Final = 77

Say = Callable[[str], None]


class Soak:
    """The acts, in order."""

    def __init__(self, town: Town, net: SoakNet, checks: Checks, say: Say) -> None:
        self._town = town
        self._net = net
        self._checks = checks
        self._say = say

    def double_voter(self) -> None:
        """One key in two processes: both propose in view 1. A node that hears both reports it; it is slashed and removed."""
        net = self._net
        for node in (net.doubled, net.copy):
            node.start()
            calls.until(f"{node.name} proposes alone", node.has_notarized, PROGRESS_SECONDS_MAX)
        witness = net.steady[0]
        witness.start()
        for _ in range(5):
            try:
                calls.until("evidence", lambda: pool_of(witness), 20.0)
                break
            except DevnetError:  # one had halted before it was heard
                for node in (net.doubled, net.copy):
                    node.kill()
                    node.start()
        self._say(f"a key in two processes: {witness.name} holds evidence against {net.doubled.name}")
        for node in net.steady[1:]:
            node.start()
        self._checks.start()
        self.progress("four of five make blocks")
        witness.place.inside(self._let_report)
        found = calls.until("the conviction", lambda: convictions_of(witness), PROGRESS_SECONDS_MAX)
        row = witness.call("stake.validator", address=net.doubled.address)
        if found != [net.doubled.address] or not row["removed"]:
            self._checks.violations.append(f"convicted are {found}; {net.doubled.name} is {row}")
        self._say(f"{net.doubled.name} is slashed and removed")
        net.doubled.kill()
        net.copy.kill()

    def _let_report(self) -> None:
        asyncio.run(self._register_report_key())  # on this thread: another one sees another network

    async def _register_report_key(self) -> None:
        async with AsyncClient(self._net.steady[0].endpoint) as client:
            wallet = Wallet(self._net.reporter, self._net.reporter.address)
            order = SessionKeyAdd(self._net.report_key.public, int(Scope.REPORT), Height(10**6))
            await client.execute(wallet, order)

    def partition(self) -> None:
        """Two and two, then healed."""
        nodes = self._net.steady
        one, other = [node.place for node in nodes[:2]], [node.place for node in nodes[2:]]
        self._town.cut(one, other)
        time.sleep(CUT_SECONDS)
        self._town.heal(one, other)
        self.progress("the partition has healed")

    def kills(self, until: float) -> None:
        """kill -9 of each in turn, until an instant of the monotonic clock; each at least once."""
        turn = 0
        while turn < len(self._net.steady) or time.monotonic() < until:
            node = self._net.steady[turn % len(self._net.steady)]
            node.kill()
            time.sleep(DOWN_SECONDS)
            node.start()
            time.sleep(KILL_EVERY_SECONDS - DOWN_SECONDS)
            turn += 1
            if turn % (4 * len(self._net.steady)) == 0:
                self.partition()
        self._say(f"kill -9, {turn} times")
        self.progress("everybody is back")

    def progress(self, what: str) -> None:
        """Blocks become final at every node, within a bound."""
        nodes = self._net.steady
        goal = max(node.height() for node in nodes) + 2
        calls.until(what, lambda: min(node.height() for node in nodes) >= goal, PROGRESS_SECONDS_MAX)
        self._say(f"{what}: height {goal}")

    def finish(self) -> None:
        """The chains whole, and nobody convicted but the one."""
        self._checks.finish()
        for node in self._net.steady:
            if convictions_of(node) != [self._net.doubled.address]:
                self._checks.violations.append(f"{node.name}: convicted are {convictions_of(node)}")


def pool_of(node: HousedNode) -> list[str]:
    try:
        return [each["id"] for each in node.call("chain.evidence")["pool"]]
    except calls.Unanswered:
        return []


def convictions_of(node: HousedNode) -> list[str]:
    try:
        return [each["validator"] for each in node.call("chain.evidence")["convictions"]]
    except calls.Unanswered:
        return []


def run(minutes: float, folder: Path, say: Say) -> list[str]:
    """What did not hold; empty where all did. Raises DevnetError where the net does not get on."""
    until = time.monotonic() + 60 * minutes
    with Town(VALIDATORS + 1) as town:
        net = SoakNet(folder / "net", town.places)
        checks = Checks(net.steady)
        soak = Soak(town, net, checks, say)
        try:
            soak.double_voter()
            soak.partition()
            soak.kills(until)
            soak.finish()
        finally:
            net.kill()
        say(f"{checks.height} blocks, {checks.looks} looks, {len(checks.violations)} violations")
        return checks.violations


def main(arguments: Sequence[str]) -> int:
    """0: all held; 1: something did not; 77: this machine can't do it, and said why."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    given = parser.parse_args(arguments)
    if reason := missing():
        print(f"soak skipped: {reason}", file=sys.stderr)
        return EXIT_SKIPPED
    folder = Path(tempfile.mkdtemp(prefix="omnitensor-soak-"))
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:7.1f} s  {text}", flush=True)

    try:
        violations = run(given.minutes, folder, say)
    except DevnetError as error:
        violations = [str(error)]
    for violation in violations:
        print(f"VIOLATION: {violation}", file=sys.stderr)
    if violations:
        print(f"kept for looking at: {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
