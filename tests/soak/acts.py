"""The acts of a soak, in order: a double voter, epochs, partitions, kills. Does things to a net, and looks what becomes of it."""

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Final

from deploy.devnet import calls
from deploy.devnet.process import DevnetError
from omnitensor.protocol.bodies import Scope, SessionKeyAdd
from omnitensor.protocol.types import Amount, Height
from omnitensor.sdk import AsyncClient, Wallet
from tests.soak.looks import Looks
from tests.soak.net import HousedNode, SoakNet
from tests.soak.places import Town

KILL_EVERY_SECONDS: Final = 4.0
DOWN_SECONDS: Final = 1.0
EVIDENCE_SECONDS: Final = (8.0, 15.0, 30.0, 60.0, 120.0)
CUT_SECONDS: Final = 8.0
UNDER_WAY_MAX: Final = 3
"""Blocks above the highest final one for which enough may have been signed before the cut, and heard on a busy machine later."""
BACK_SECONDS_MAX: Final = 240.0
PROGRESS_SECONDS_MAX: Final = 300.0
"""Within so long after everybody is back, blocks become final again. A machine under load takes a good part of it."""
ROUNDS_BETWEEN_CUTS: Final = 4

Say = Callable[[str], None]


class Acts:
    """What is done to the net. ``looks`` takes the violations that can be seen meanwhile."""

    def __init__(self, town: Town, net: SoakNet, looks: Looks, say: Say) -> None:
        self._town = town
        self._net = net
        self._looks = looks
        self._say = say
        self.kills = 0
        self.cuts = 0
        self.recoveries: Final[list[float]] = []
        """Seconds from a killed node's start until it answers and is where it was; one for each."""

    # -- a key in two processes

    def double_voter(self) -> None:
        """Both propose in view 1. A node that hears both reports it; it is slashed, and removed from the next set."""
        net, witness = self._net, self._net.steady[0]
        for node in (net.doubled, net.copy):
            node.start()
            calls.until(f"{node.name} proposes alone", node.has_notarized, PROGRESS_SECONDS_MAX)
        witness.start()
        for patience in EVIDENCE_SECONDS:  # the busier the machine, the later it is heard
            try:
                calls.until("evidence", lambda: pool_of(witness), patience)
                break
            except DevnetError:  # one had halted before it was heard
                for node in (net.doubled, net.copy):
                    node.kill()
                    node.start()
        self._say(f"a key in two processes: {witness.name} holds evidence against {net.doubled.name}")
        for node in net.steady[1:]:
            node.start()
        self._looks.start()
        self.progress("four of five make blocks")
        witness.place.inside(self._let_report)
        found = calls.until("the conviction", lambda: convictions_of(witness), PROGRESS_SECONDS_MAX)
        row = witness.call("stake.validator", address=net.doubled.address)
        if found != [net.doubled.address] or not row["removed"]:
            self._looks.violations.append(f"convicted are {found}; {net.doubled.name} is {row}")
        self._say(f"{net.doubled.name} is slashed and removed; it votes until its epoch ends")
        self._without_it()

    def _without_it(self) -> None:
        """The next epoch's set has everybody else, at every node; both processes of the removed key are still running."""
        net = self._net
        everybody = {node.address for node in net.validators}
        if voters(net.steady[0], 0) != everybody:
            self._looks.violations.append(f"epoch 0 began with {voters(net.steady[0], 0)}")
        rest = everybody - {net.doubled.address}
        for node in net.steady:
            self._until(f"{node.name} is in an epoch without it", node, lambda each: voters(each) == rest)
        epoch = epoch_of(net.steady[0])
        self._say(f"epoch {epoch} is of the four others")
        self.progress("they go on without it")
        for node in (net.doubled, net.copy):
            node.kill()
        self.progress("and without its processes")

    def _let_report(self) -> None:
        asyncio.run(self._register_report_key())  # on this thread: another one sees another network

    async def _register_report_key(self) -> None:
        async with AsyncClient(self._net.steady[0].endpoint) as client:
            wallet = Wallet(self._net.reporter, self._net.reporter.address)
            order = SessionKeyAdd(
                self._net.report_key.public, int(Scope.REPORT), Height(10**6), Amount(10**12)
            )
            await client.execute(wallet, order)

    # -- epochs

    def epochs(self, count: int) -> None:
        """So many boundaries are passed by everybody."""
        goal = epoch_of(self._net.steady[0]) + count
        for node in self._net.steady:
            self._until(f"{node.name} is in epoch {goal}", node, lambda each: epoch_of(each) >= goal)
        self._say(f"on to epoch {goal}")

    # -- partitions

    def partition(self, apart: int) -> None:
        """``apart`` nodes on one side, the others on the other; then healed. Without a quorum nothing becomes final meanwhile."""
        nodes = self._net.steady
        one, other = nodes[:apart], nodes[apart:]
        sides = [node.place for node in one], [node.place for node in other]
        stuck = nodes if len(other) < 3 else one
        self.cuts += 1
        self._town.cut(*sides)
        try:
            # The highest: what one node of a side has, the others of its side may still hear from it.
            before = max(node.height() for node in stuck)
            time.sleep(CUT_SECONDS)
            after = max(node.height() for node in stuck)
            if after > before + UNDER_WAY_MAX and before >= 0:
                self._looks.violations.append(f"without a quorum, block {after} became final above {before}")
            if stuck is one:
                goal = before + 2
                calls.until(
                    "three go on without the fourth",
                    lambda: min(n.height() for n in other) >= goal,
                    PROGRESS_SECONDS_MAX,
                )
        finally:
            self._town.heal(*sides)
        self.progress(f"the partition of {len(one)} and {len(other)} has healed")

    # -- kills

    def kill_in_turn(self, until: float) -> None:
        """kill -9 of each in turn, until an instant of the monotonic clock; each at least once. Now and then a partition."""
        nodes, rounds = self._net.steady, 0
        while not rounds or time.monotonic() < until:
            for node in nodes:
                self._kill(node)
            rounds += 1
            if rounds % ROUNDS_BETWEEN_CUTS == 0 and time.monotonic() < until:
                self.partition(1 + self.cuts % 2)
                self._say(f"{self.kills} kills so far, epoch {epoch_of(nodes[0])}")
        self._say(f"kill -9, {self.kills} times")
        self.progress("everybody is back")

    def _kill(self, node: HousedNode) -> None:
        began = time.monotonic()
        before = node.height()
        node.kill()
        self.kills += 1
        time.sleep(DOWN_SECONDS)
        node.start()
        started = time.monotonic()
        calls.until(f"{node.name} is back", lambda: node.height() >= before, BACK_SECONDS_MAX)
        self.recoveries.append(time.monotonic() - started)
        time.sleep(max(0.0, began + KILL_EVERY_SECONDS - time.monotonic()))

    def _until(self, what: str, node: HousedNode, holds: Callable[[HousedNode], bool]) -> None:
        calls.until(what, lambda: holds(node), PROGRESS_SECONDS_MAX)

    def progress(self, what: str) -> None:
        """Blocks become final at every node, within a bound."""
        nodes = self._net.steady
        goal = max(node.height() for node in nodes) + 2
        calls.until(what, lambda: min(node.height() for node in nodes) >= goal, PROGRESS_SECONDS_MAX)
        self._say(f"{what}: height {goal}")

    # -- the end

    def finish(self) -> None:
        """All nodes stop in good order; nobody is convicted but the one, and none has halted."""
        nodes = self._net.steady
        for node in nodes:
            if convictions_of(node) != [self._net.doubled.address]:
                self._looks.violations.append(f"{node.name}: convicted are {convictions_of(node)}")
            calls.until(f"{node.name} is ready", node.is_ready, PROGRESS_SECONDS_MAX)
        self._looks.finish()
        for node in nodes:
            if (code := node.stop()) != 0:
                self._looks.violations.append(f"{node.name} stopped with code {code}")

    def recovery_text(self) -> str:
        if not self.recoveries:
            return "no recoveries"
        middle, worst = statistics.median(self.recoveries), max(self.recoveries)
        return f"{len(self.recoveries)} recoveries, median {middle:.1f} s, longest {worst:.1f} s"


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


def voters(node: HousedNode, epoch: int | None = None) -> set[str]:
    """Addresses of those who vote in an epoch (None: the one under way), as the node says; empty while it does not answer."""
    given = {} if epoch is None else {"epoch": epoch}
    try:
        return {each["address"] for each in node.call("chain.validators", **given)["validators"]}
    except calls.Unanswered:
        return set()


def epoch_of(node: HousedNode) -> int:
    try:
        return int(node.call("chain.validators")["epoch"])
    except calls.Unanswered:
        return -1
