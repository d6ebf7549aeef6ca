"""What must hold in every execution, checked from outside: shares no code with the core.

Sees what was said on the wire, what was committed, and who was accused; knows who is hostile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from omnitensor.protocol.blocks import Header
from omnitensor.protocol.types import Hash
from omnitensor.protocol.votes import Candidate, Certificate, FinalityProof, Proposal, Vote
from tests.simulation.application import Committed
from tests.simulation.scenario import Scenario

NOTARIZE, SKIP, FINALIZE = 1, 2, 3
PROMISE_BLOCKS = 300
"""A proof is of a block at most so far above (and a little more)."""


class Checkers:
    """Collects violations as text; an execution is good when there is none."""

    def __init__(
        self, scenario: Scenario, members: Callable[[int], tuple[tuple[int, int], ...]] | None = None
    ) -> None:
        """``members`` gives node and weight by index in an epoch's validator table."""
        self.violations: list[str] = []
        self._members = members if members is not None else lambda _: tuple(enumerate(scenario.weights))
        self._epoch_blocks = scenario.epoch_blocks
        self._hostile = scenario.hostile
        self._final: dict[int, bytes] = {}
        self._times: dict[int, int] = {}
        self._heights: dict[int, int] = {}
        self._said: dict[tuple[int, int, int], dict[int, set[bytes]]] = {}
        self._candidates: dict[bytes, Candidate] = {}
        self._seen: set[Certificate] = set()
        self._promised: dict[bytes, int] = {}
        self._interval_ms = scenario.block_interval_ms
        self._ahead_ms = scenario.clock_drift_ms + max(scenario.skew_ms, scenario.jump_ms)

    def violated(self, what: str) -> None:
        if len(self.violations) < 20:
            self.violations.append(what)

    # -- no honest validator signs what convicts it

    def spoken(self, sender: int, message: object) -> None:
        """Everything that a node sends to all, at the instant at which it leaves."""
        if isinstance(message, Proposal):
            self._candidates[bytes(message.leader_vote.candidate_id)] = message.candidate
            self._vote(sender, message.leader_vote, offers=True)
        elif isinstance(message, Vote):
            self._vote(sender, message)
        elif isinstance(message, Certificate) and sender not in self._hostile:
            self._earned(sender, message)

    def _earned(self, holder: int, certificate: Certificate) -> None:
        """A certificate that an honest node passes on: its honest signers have said so, and together they are a quorum."""
        if certificate in self._seen:
            return
        self._seen.add(certificate)
        bits = int.from_bytes(certificate.signers, "little")
        members = self._members(certificate.epoch)
        signers = [member for place, member in enumerate(members) if bits >> place & 1]
        if 3 * sum(weight for _, weight in signers) <= 2 * sum(weight for _, weight in members):
            self.violated(f"node {holder} holds a certificate of view {certificate.view} without a quorum")
        if bits >> len(members):
            self.violated(f"node {holder} holds a certificate with signers beyond the table")
        for signer, _ in signers:
            said = self._said.get((signer, certificate.epoch, certificate.view), {})
            named = bytes(certificate.candidate_id)
            if signer not in self._hostile and named not in said.get(int(certificate.kind), ()):
                self.violated(
                    f"node {holder} holds a forged certificate: {signer} never said so in view {certificate.view}"
                )

    def _vote(self, sender: int, vote: Vote, *, offers: bool = False) -> None:
        if sender in self._hostile:
            return
        members = self._members(vote.epoch)
        if vote.signer >= len(members) and (not offers or vote.kind != NOTARIZE):
            self.violated(f"honest node {sender} votes in epoch {vote.epoch}, where it is no validator")
        elif vote.signer < len(members) and members[vote.signer][0] != sender:
            self.violated(f"honest node {sender} votes with another's seat in epoch {vote.epoch}")
        said = self._said.setdefault((sender, vote.epoch, vote.view), {})
        said.setdefault(int(vote.kind), set()).add(bytes(vote.candidate_id))
        for kind, name in ((NOTARIZE, "notarized"), (FINALIZE, "finalized")):
            if len(said.get(kind, ())) > 1:
                self.violated(f"honest node {sender} {name} two candidates in view {vote.view}")
        if SKIP in said and FINALIZE in said:
            self.violated(f"honest node {sender} skipped and finalized in view {vote.view}")

    def accused(self, accuser: int, culprits: tuple[int, ...]) -> None:
        for culprit in culprits:
            if culprit not in self._hostile:
                self.violated(f"node {accuser} holds evidence against honest node {culprit}")

    def blamed(self, accuser: int, sender: int, reason: str) -> None:
        """A node refused what another sent: an honest node's messages are always good."""
        if sender not in self._hostile and accuser not in self._hostile:
            self.violated(f"node {accuser} refused honest node {sender}'s message: {reason}")

    # -- attendance

    def attended(self, index: int, header: Header) -> tuple[int, ...]:
        """Whom a final block names for the one below it, by index in the epoch's table: a quorum who all said so."""
        named = header.attendance
        first = (header.height - 1) % self._epoch_blocks == 0
        if first or named is None:
            if first != (named is None):
                self.violated(f"block {header.height} of node {index} names voters where it may not, or none")
            return ()
        bits = int.from_bytes(named.signers, "little")
        members = self._members(header.epoch)
        places = tuple(place for place in range(len(members)) if bits >> place & 1)
        weight = sum(members[place][1] for place in places)
        if bits >> len(members) or 3 * weight <= 2 * sum(weight for _, weight in members):
            self.violated(f"block {header.height} of node {index} names no quorum for the block below it")
        candidate = Candidate(
            header.epoch, named.view, named.parent_view, named.parent_id, Hash(header.parent)
        )
        for signer in (members[place][0] for place in places):
            said = self._said.get((signer, header.epoch, named.view), {})
            if signer not in self._hostile and bytes(candidate.id) not in said.get(int(named.kind), ()):
                self.violated(
                    f"block {header.height} of node {index} names {signer}, who did not vote for its parent"
                )
        return places

    # -- no fork; finality is earned

    def committed(
        self, index: int, part: Sequence[Committed], proof: FinalityProof | None, now_ms: int
    ) -> None:
        """``proof`` is of the last, or of one above it; None where it was in memory alone as the power went.

        ``now_ms``: the true time, which no honest clock is ahead of by more than the scenario says.
        """
        for entry in part:
            height, block_hash = entry.block.header.height, bytes(entry.block.hash)
            if self._final.setdefault(height, block_hash) != block_hash:
                self.violated(
                    f"FORK at height {height}: node {index} has {block_hash.hex()[:12]},"
                    f" another {self._final[height].hex()[:12]}"
                )
            if height > 0 and self._heights.get(index, 0) != height - 1:
                self.violated(f"node {index} committed height {height} after {self._heights.get(index, 0)}")
            self._heights[index] = height
            if height > 1 and self._final.get(height - 1) != bytes(entry.block.header.parent):
                self.violated(f"block {height} of node {index} does not follow the final block below it")
            if entry.block.header.epoch != max(height - 1, 0) // self._epoch_blocks:
                self.violated(f"final block {height} says that it is of epoch {entry.block.header.epoch}")
            timestamp_ms = entry.block.header.timestamp_ms
            if timestamp_ms > now_ms + self._ahead_ms:
                self.violated(f"final block {height} is {timestamp_ms - now_ms} ms ahead of time")
            below_ms = self._times.get(height - 1)
            if below_ms is not None and timestamp_ms < below_ms + self._interval_ms:
                self.violated(
                    f"final block {height} is {timestamp_ms - below_ms} ms after the block below it"
                )
            self._times[height] = timestamp_ms
            if entry.proof is None and height % self._epoch_blocks == 0:
                self.violated(f"node {index} has no proof of its own for boundary {height}")
        if proof is None:
            return
        bits = int.from_bytes(proof.certificate.signers, "little")
        if {proof.certificate.epoch, proof.candidate.epoch} != {part[-1].block.header.epoch}:
            self.violated(f"node {index} committed on a proof of another epoch")
        weights = [weight for _, weight in self._members(proof.certificate.epoch)]
        signed = sum(weight for i, weight in enumerate(weights) if bits >> i & 1)
        if 3 * signed <= 2 * sum(weights):
            self.violated(f"node {index} committed on {signed} of {sum(weights)} stake")
        if proof.certificate.kind != FINALIZE or proof.certificate.candidate_id != proof.candidate.id:
            self.violated(f"node {index} committed on a proof of something else")
        if part[-1].proof not in (None, proof):
            self.violated(f"node {index} keeps another proof than it committed on")
        if proof.candidate.block_hash != part[-1].block.hash:
            self._promised[bytes(proof.candidate.block_hash)] = part[-1].block.header.height
        self._earned(index, proof.certificate)

    # -- everything final is available

    def _keep_promises(self) -> None:
        """A proof that was of a block above made that block final, too."""
        heights = {block_hash: height for height, block_hash in self._final.items()}
        for block_hash, below in self._promised.items():
            if block_hash not in heights and len(self._final) > below + PROMISE_BLOCKS:
                self.violated(f"a proof above block {below} was of a block that never became final")

    def finish(self, chains: Sequence[tuple[int, Sequence[Committed]]]) -> None:
        """At the end: every block that anybody holds final is held by whoever is that far, and nothing was undone."""
        self._keep_promises()
        for index, chain in chains:
            for height, entry in enumerate(chain):
                if height and self._final.get(height) != bytes(Hash(entry.block.hash)):
                    self.violated(f"node {index} has lost or changed final block {height}")
        if chains:
            reached = max(len(chain) for _, chain in chains) - 1
            for height in range(1, reached + 1):
                if not any(len(chain) > height for _, chain in chains):
                    self.violated(f"final block {height} is nowhere")
            if self._final and max(self._final) > reached:
                self.violated(f"final block {max(self._final)} was committed and is gone")
