"""What must hold of leaders where workers lead: who may, what a missed view costs in the state, and that blocks keep coming.

Shares no code with the schedule, the ledger or the core: an oracle draws, and rows are computed anew from what headers say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import msgpack

from omnitensor.protocol.blocks import Header
from omnitensor.protocol.votes import Proposal
from tests.simulation.application import Committed
from tests.simulation.scenario import Scenario
from tests.simulation.workers import Credit, Facts, drawn_leader, given

WORKER_SETS, WORKER_CONVICTIONS = 0x51, 0x68
LOOKED_AT = 256
"""Skipped views below a block that are looked at."""
SLACK_DELTAS = 16
"""Two views that work spoils last three delays each, and what ends them and the third takes less than four in all. Where a block
is withheld that a quorum chose all the same, whoever lacks it asks every two delays until it meets somebody who has it."""


class LeaderCheckers:
    """Watches honest nodes of a world with workers."""

    def __init__(
        self,
        violated: Callable[[str], None],
        scenario: Scenario,
        facts: Callable[[int], Facts | None],
        party_of: Callable[[bytes], int],
    ) -> None:
        self._violated = violated
        self._scenario = scenario
        self._facts = facts
        self._party_of = party_of
        self.led_by_work = 0
        """Final blocks whose proposer is a worker that does not vote."""

    def leader(self, epoch: int, view: int) -> int | None:
        """The party that leads a view; None where it is not known."""
        facts = self._facts(epoch)
        if facts is None:
            return None
        credit = facts.credit
        drawn: int = drawn_leader(facts.seed, epoch, view, facts.members, credit.amounts, credit.tickets)
        return drawn

    def spoken(self, sender: int, message: object) -> None:
        """No honest node proposes out of its turn."""
        if isinstance(message, Proposal) and sender not in self._scenario.hostile:
            view = message.candidate.view
            leader = self.leader(message.candidate.epoch, view)
            if leader not in (None, sender):
                self._violated(f"honest node {sender} proposes in view {view}, which {leader} leads")

    def committed(self, part: Sequence[Committed]) -> None:
        """Every final block is by whoever leads the view in which it was offered, as far as its own proof says which that is."""
        for entry in part:
            header, proof = entry.block.header, entry.proof
            party = self._party_of(header.proposer)
            self.led_by_work += party >= self._scenario.size
            if proof is None or header.height % self._scenario.epoch_blocks == 0:
                continue  # of a boundary a filler's proof may speak, which is another's
            leader = self.leader(header.epoch, proof.candidate.view)
            if leader not in (None, party):
                self._violated(
                    f"final block {header.height} of view {proof.candidate.view} is by {party}, and {leader} leads"
                )

    def check_pace(self, chain: Sequence[Committed], since_ms: int) -> None:
        """While the network is whole and every validator honest, stake's third of the views keeps blocks coming."""
        scenario = self._scenario
        bound_ms = scenario.block_interval_ms + SLACK_DELTAS * scenario.delta_ms
        later = [entry for entry in chain if entry.block.header.timestamp_ms >= since_ms]
        for before, after in pairwise(later):
            took_ms = after.block.header.timestamp_ms - before.block.header.timestamp_ms
            if took_ms > bound_ms:
                self._violated(f"block {after.block.header.height} took {took_ms} ms, more than {bound_ms}")
            if (
                before.proof is None
                or after.proof is None
                or before.proof.candidate.epoch != after.proof.candidate.epoch
            ):
                continue
            views = after.proof.candidate.view - before.proof.candidate.view
            if views > scenario.pace_views:
                self._violated(f"block {after.block.header.height} took {views} views")


class WorkerRows:
    """The worker sets that the state must hold, computed from headers, in order, and what the world gives."""

    def __init__(
        self,
        violated: Callable[[str], None],
        scenario: Scenario,
        genesis_hash: bytes,
        members: Callable[[int], tuple[tuple[int, int], ...]],
        address_of: Callable[[int], bytes],
    ) -> None:
        self._violated = violated
        self._scenario = scenario
        self._seeds = {0: genesis_hash}
        self._members = members
        self._address_of = address_of
        self._rows: dict[int, Credit] = {}
        self._height = 0
        self.missed = 0
        self.convicted: dict[bytes, int] = {}
        """Height by key of the conviction."""

    def facts(self, epoch: int) -> Facts | None:
        if epoch not in self._seeds:
            return None
        return Facts(self._seeds[epoch], self._members(epoch), self._row(epoch))

    def _row(self, epoch: int) -> Credit:
        return self._rows.get(epoch, Credit())

    def block(self, header: Header) -> None:
        """The next final block; those that were seen before are passed over."""
        if header.height <= self._height:
            return
        self._height = header.height
        epoch = (header.height - 1) // self._scenario.epoch_blocks
        if header.attendance is not None:
            self._charge(epoch, header.attendance.parent_view, header.attendance.view)
        if header.height % self._scenario.epoch_blocks == 0:
            self._seeds[epoch + 1] = bytes(header.beacon)
            credit = given(self._scenario, epoch + 2)
            amounts = sorted(credit.amounts, key=lambda each: self._address_of(each[0]))
            self._rows[epoch + 2] = Credit(tuple(amounts), credit.tickets)

    def _charge(self, epoch: int, below: int, view: int) -> None:
        now, following = self._row(epoch), self._row(epoch + 1)
        if not epoch or now.tickets < 8 or not sum(amount for _, amount in now.amounts):
            return
        left = dict(following.amounts)
        for skipped in range(below + 1, min(view, below + 1 + LOOKED_AT)):
            if skipped % 3 == 0:
                continue
            members = self._members(epoch)
            who = drawn_leader(self._seeds[epoch], epoch, skipped, members, now.amounts, now.tickets)
            self.missed += 1
            if who in left:
                left[who] //= 4
        amounts = tuple((who, left[who]) for who, _ in following.amounts)
        self._rows[epoch + 1] = Credit(amounts, following.tickets)

    def _convict(self, rows: dict[bytes, bytes]) -> None:
        """A worker that is convicted has offered two blocks, and has no credit in the set after the one of that block."""
        for key, value in rows.items():
            if key[0] != WORKER_CONVICTIONS or key in self.convicted:
                continue
            party = next(p for p in range(self._scenario.parties) if self._address_of(p) == key[1:34])
            at = msgpack.unpackb(value)[4]
            self.convicted[key] = at
            if party not in self._scenario.hostile:
                self._violated(f"the ledger convicted the honest worker {party} at height {at}")
            following = (at - 1) // self._scenario.epoch_blocks + 1
            row = self._row(following)
            kept = tuple((who, 0 if who == party else amount) for who, amount in row.amounts)
            self._rows[following] = Credit(kept, row.tickets)

    def check(self, index: int, height: int, rows: dict[bytes, bytes]) -> None:
        """A node's state after a block: the set in use as it was frozen, the next as missed views left it."""
        if height != self._height:
            return
        self._convict(rows)
        last = (height - 1) // self._scenario.epoch_blocks
        for epoch in (last, last + 1, last + 2):
            found = rows.get(bytes([WORKER_SETS]) + epoch.to_bytes(8, "big"))
            shown: list[Any] = [[], 0] if found is None else msgpack.unpackb(found)
            row = self._row(epoch)
            due = [[self._address_of(who), amount] for who, amount in row.amounts]
            if [[address, amount] for address, _, amount in shown[0]] != due or shown[1] != row.tickets:
                self._violated(f"node {index} has another worker set for epoch {epoch} at height {height}")
