"""Takes the Python core through an execution of the formal model, step by step, and says where the two part.

Each honest validator is the real core with the real verifier and safety store. What a step of the model delivers is made of votes
that cores have really cast and of what the hostile can sign; what must follow is the trace's: view, new votes, final candidate.
Time, pace and fetching are outside the model: clocks move only when a timer is to run out, and a request is answered when the
trace says so.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from dataclasses import replace as replaced
from random import Random
from typing import Any

from consensus.schedule.leaders import LeaderSchedule
from consensus.stake import effects as todo
from consensus.stake.core import Core
from consensus.stake.events import (
    BlockBuilt,
    BlockChecked,
    CandidateReceived,
    CertificateReceived,
    Event,
    ProposalReceived,
    Start,
    Tick,
    VoteReceived,
)
from consensus.stake.knowledge import Settings
from consensus.stake.verify import Verifier
from node.safety_store import SafetyStore
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.types import ACCOUNT_VERSION, Address, Epoch, Hash, Height, TimeMs, View
from omnitensor.protocol.votes import (
    SKIP_ID,
    Candidate,
    Certificate,
    Proposal,
    ValidatorEntry,
    ValidatorTable,
    Vote,
    VoteKind,
    vote_message,
)
from tests.simulation.application import CHAIN_ID, HashChain, genesis_block, make_block
from tests.simulation.disk import SimDisk
from tests.simulation.network import EPOCH_MS
from tests.simulation.scheme import SimScheme

Claim = tuple[VoteKind, int, int]
"""Kind, view and the model's number of a candidate; 0 in a SKIP, and for the root."""

ROOT = 0
EPOCH = Epoch(0)
TICKS_MAX = 64
"""Timers that may run out before a view's does: requests that are made again, and standstills."""
HOUR_MS = 3_600_000


class Parted(AssertionError):
    """The core did something else than the model. The message says at which step, and what each of them has."""


class FixedLeaders(LeaderSchedule):
    """The leaders that an execution of the model drew."""

    def __init__(self, table: ValidatorTable, leaders: list[int]) -> None:
        super().__init__(table, Hash(bytes(32)))
        self._leaders = leaders

    def leader(self, view: View) -> int:
        return self._leaders[view % len(self._leaders)]


@dataclass
class Product:
    """What is under test; planted faults put other classes in."""

    core: type[Core] = Core
    store: type[SafetyStore] = SafetyStore


@dataclass
class Offered:
    """A candidate of the model as it is here."""

    candidate: Candidate | None
    """None for the root."""
    block: Block
    valid: bool = True
    basis: str = ""
    proposal: Proposal | None = None

    @property
    def id(self) -> Hash:
        return self.candidate.id if self.candidate is not None else self.block.hash

    @property
    def view(self) -> View:
        return View(self.candidate.view if self.candidate is not None else 0)


class Replica:
    """One honest validator: core, safety store and chain, as a driver would run them, but with answers at once."""

    def __init__(self, replay: Replay, index: int) -> None:
        self.replay = replay
        self.index = index
        self.now_ms = EPOCH_MS
        self.timer_ms = EPOCH_MS
        self.chain = HashChain(replay.genesis)
        self.disk = SimDisk(Random(index))
        self.said: set[Claim] = set()
        self.proposed: list[todo.Propose] = []
        self._key = replay.table.key(index)
        self.store = replay.product.store.create(self.disk, CHAIN_ID, self._key, Random(index).randbytes)
        self._run()

    def _run(self) -> None:
        replay = self.replay
        settings = Settings(self.index, 0, 100, 5_000, HOUR_MS, Height(2**62))
        point = self.chain.head()
        assert point is not None, "every head of a replay has its proof"
        self.core = replay.product.core(settings, replay.table, replay.leaders, replay.scheme, point)
        self.handle(Start(self.now_ms, self.store.memory))

    def restart(self) -> None:
        """The power goes and comes back: only the chain and what was synced are left."""
        self.disk.power_off()
        self.chain.restart()
        self.store = self.replay.product.store.open(self.disk, CHAIN_ID, self._key)
        self._run()

    def handle(self, event: Event) -> None:
        """Give the core an event, and answers to all that it asks of its own machine."""
        events: deque[Event] = deque([event])
        while events:
            for effect in self.core.handle(events.popleft()):
                answer = self._do(effect)
                if answer is not None:
                    events.append(answer)

    def _do(self, effect: todo.Effect) -> Event | None:
        match effect:
            case todo.Keep(candidate, block):
                self.store.keep(candidate, block)
            case todo.Cast(kind, _, view, candidate_id):
                self.store.record(effect)
                return self._say(kind, view, candidate_id)
            case todo.Propose():
                self.store.record_proposal(effect)
                self.proposed.append(effect)
                vote = effect.vote
                self.replay.offer(self, effect)
                return self._say(vote.kind, vote.view, vote.candidate_id)
            case todo.Build():
                # All blocks carry the root's time, so that no clock or pace comes into it.
                order = replaced(effect, timestamp_ms=TimeMs(EPOCH_MS))
                address = Address(self.replay.table.entries[self.index].address)
                return BlockBuilt(
                    self.now_ms, effect.view, self.chain.build(order, address, tuple, self.replay.next_number)
                )
            case todo.Check(candidate, block):
                return BlockChecked(self.now_ms, candidate.id, self.chain.check(block))
            case todo.Commit(chain, proof, _, prune_below):
                self.chain.commit([final.block for final in chain], proof)
                self.store.raise_floor(Epoch(0), prune_below)
            case todo.SetTimer(at_ms):
                self.timer_ms = at_ms
            case todo.Accuse(evidence):
                honest = set(evidence.culprits) - self.replay.hostile
                if honest:
                    raise Parted(f"validator {self.index} holds evidence against the honest {sorted(honest)}")
            case todo.Charge(_, reason) | todo.Halt(reason):
                raise Parted(f"validator {self.index} blames somebody or halts: {reason}")
            case todo.Broadcast() | todo.Fetch() | todo.FetchCertificates() | todo.Behind():
                pass  # the trace says what arrives, and when
        return None

    def _say(self, kind: VoteKind, view: View, candidate_id: Hash) -> Event:
        number = self.replay.number_of(candidate_id)
        self.said.add((kind, view, number))
        return VoteReceived(self.now_ms, None, self.replay.vote(self.index, (kind, view, number)))


@dataclass
class Replay:
    """One trace against cores. ``run`` raises Parted where they differ."""

    trace: dict[str, Any]
    product: Product = field(default_factory=Product)

    def __post_init__(self) -> None:
        weights = self.trace["weights"]
        self.hostile = frozenset(self.trace["hostile"])
        self.scheme = SimScheme()
        self._secrets = [b"validator %d" % i + bytes(32) for i in range(len(weights))]
        self.table = ValidatorTable(
            EPOCH,
            tuple(
                ValidatorEntry(
                    Address(bytes([ACCOUNT_VERSION]) + i.to_bytes(32, "big")),
                    self.scheme.key(self._secrets[i]),
                    weight,
                )
                for i, weight in enumerate(weights)
            ),
        )
        self.leaders = FixedLeaders(self.table, self.trace["leaders"])
        self.verifier = Verifier(CHAIN_ID, self.table, self.leaders, self.scheme)
        self.genesis = genesis_block(EPOCH_MS)
        self.offered = {ROOT: Offered(None, self.genesis)}
        self._numbers = {self.genesis.hash: ROOT, SKIP_ID: ROOT}
        self.replicas: dict[int, Replica] = {}
        self.next_number = 0
        self.rules: set[str] = set()

    # -- running

    def run(self) -> None:
        for number, step in enumerate(self.trace["steps"]):
            try:
                self._step(number, step)
            except Exception as error:
                raise Parted(
                    f"step {number}, {step['do']} of validator {step['who']}: {error!r}\n{step}"
                ) from error
        for replica in self.replicas.values():
            self._count_rules(replica)

    def _step(self, number: int, step: dict[str, Any]) -> None:
        self.next_number = max(self.offered) + 1
        expected = {line[0]: line for line in step.get("new", ())}
        if step["do"] == "hostile proposal":
            for line in expected.values():
                self._mislead(*line)
            return
        replica = self.replicas.get(step["who"])
        before = set(replica.said) if replica is not None else set()
        if replica is None:
            replica = self.replicas[step["who"]] = Replica(self, step["who"])
        elif step["do"] == "start":
            raise Parted("a validator starts twice")
        self._deliver(number, replica, step)
        self._compare(replica, before, step["then"])
        self._compare_offer(replica, expected)

    def _compare(self, replica: Replica, before: set[Claim], then: dict[str, Any]) -> None:
        says = {(VoteKind[kind.upper()], view, cand) for kind, view, cand in then["says"]}
        final = self.number_of(replica.core.final.candidate_id)
        here = (replica.core.view, final, replica.said - before)
        if here != (then["view"], then["final"], says):
            raise Parted(f"here view, final and new votes are {here}; in the model {then}")
        head = replica.chain.committed[-1].block.hash
        if head != self.offered[final].block.hash:
            raise Parted("what is final was not committed")

    def _compare_offer(self, replica: Replica, expected: dict[int, list[Any]]) -> None:
        """A proposal is on the model's parent, with just the certificates that R2 asks for."""
        if len(replica.proposed) != len(expected):
            raise Parted(f"{len(replica.proposed)} proposals; in the model {expected}")
        for propose, (number, view, parent, _, basis) in zip(
            replica.proposed, expected.values(), strict=True
        ):
            on = self.offered[parent]
            candidate = propose.candidate
            if (candidate.view, candidate.parent_view, candidate.parent_id) != (view, on.view, on.id):
                raise Parted(f"candidate {number} is on another parent than in the model")
            wanted = self._claims_of_justification(parent, view, basis)
            shown = [(c.kind, int(c.view), self.number_of(c.candidate_id)) for c in propose.justification]
            if shown != wanted:
                raise Parted(f"candidate {number} is justified by {shown}; in the model by {wanted}")
        replica.proposed.clear()

    # -- what reaches a validator

    def _deliver(self, number: int, replica: Replica, step: dict[str, Any]) -> None:
        view, cand = View(step["view"]), step["cand"]
        match step["do"]:
            case "start":
                pass
            case "restart":
                self._count_rules(replica)
                replica.restart()
            case "certificate":
                self._certificate(number, replica, (VoteKind[step["kind"].upper()], view, cand))
            case "proposal":
                proposal = self.offered[cand].proposal
                assert proposal is not None
                self.verifier.verify_proposal(proposal)
                replica.handle(ProposalReceived(replica.now_ms, "peer", proposal))
            case "candidate":
                found = self.offered[cand]
                assert found.candidate is not None
                self.verifier.verify_candidate(found.candidate, found.block)
                replica.handle(CandidateReceived(replica.now_ms, "peer", found.candidate, found.block, ()))
            case "timeout":
                self._time_out(replica, (VoteKind.SKIP, view, ROOT))
            case "leader skips":
                self._hear(replica, self.vote(self.leaders.leader(view), (VoteKind.SKIP, view, ROOT)))
            case unknown:
                raise Parted(f"no way to do {unknown!r} here")

    def _time_out(self, replica: Replica, skip: Claim) -> None:
        """Let timers run out, one after the other, until the view's does."""
        for _ in range(TICKS_MAX):
            if skip in replica.said:
                return
            replica.now_ms = max(replica.now_ms, replica.timer_ms)
            replica.handle(Tick(replica.now_ms))

    def _hear(self, replica: Replica, vote: Vote) -> None:
        """A vote as a driver takes it in."""
        if replica.core.wants_vote(vote):
            self.verifier.verify_vote(vote)
            replica.handle(VoteReceived(replica.now_ms, "peer", vote))

    def _certificate(self, number: int, replica: Replica, claim: Claim) -> None:
        """A certificate in every other step; else the votes behind it, one by one, so that the core makes it itself (R7)."""
        view = claim[1]
        crowd = sum(found.view == view for found in self.offered.values())
        certificate = self.certificate(claim)
        if number % 2 == 0 or crowd > 2:  # of a leader with three candidates only two votes are taken
            self.verifier.verify_certificate(certificate)
            assert replica.core.wants_certificate(certificate), "the core has this certificate already"
            replica.handle(CertificateReceived(replica.now_ms, "peer", certificate))
            return
        leader = self.leaders.leader(View(view))
        signers = self.table.indexes(certificate.signers) or ()
        # The leader last: its SKIP alone would do (R4), but the model has the certificate at once.
        for signer in sorted(set(signers) - {replica.index}, key=lambda i: (i == leader, i)):
            self._hear(replica, self.vote(signer, claim))

    # -- what there is

    def offer(self, replica: Replica, propose: todo.Propose) -> None:
        """An honest validator's own proposal becomes the next candidate."""
        candidate_id = propose.candidate.id
        self._numbers[candidate_id] = self.next_number
        self.offered[self.next_number] = Offered(propose.candidate, propose.block)
        vote = self.vote(replica.index, (VoteKind.NOTARIZE, propose.candidate.view, self.next_number))
        self.offered[self.next_number].proposal = propose.proposal(vote.signature)

    def _mislead(self, number: int, view: int, parent: int, valid: bool, basis: str) -> None:
        """A hostile leader's candidate, perhaps one of several, perhaps invalid."""
        on, leader = self.offered[parent], self.leaders.leader(View(view))
        block = make_block(
            on.block.header,
            Address(self.table.entries[leader].address),
            EPOCH_MS,
            salt=number,
            poison=not valid,
        )
        candidate = Candidate(EPOCH, View(view), on.view, on.id, block.hash)
        self._numbers[candidate.id] = number
        self.offered[number] = Offered(candidate, block)
        claims = self._claims_of_justification(parent, view, basis)
        vote = self.vote(leader, (VoteKind.NOTARIZE, view, number))
        self.offered[number].proposal = Proposal(
            candidate, block, tuple(self.certificate(claim) for claim in claims), vote
        )

    def _claims_of_justification(self, parent: int, view: int, basis: str) -> list[Claim]:
        below = self.offered[parent].view
        first: list[Claim] = [(VoteKind[basis.upper()], below, parent)] if parent != ROOT else []
        return first + [(VoteKind.SKIP, crossed, ROOT) for crossed in range(below + 1, view)]

    def number_of(self, candidate_id: Hash) -> int:
        """The model's number of a candidate."""
        if candidate_id not in self._numbers:
            raise Parted(f"the model knows no candidate {candidate_id.hex()}")
        return self._numbers[candidate_id]

    def vote(self, signer: int, claim: Claim) -> Vote:
        """A vote as signed; of an honest validator only one that its core has cast."""
        kind, view, number = claim
        if (
            signer not in self.hostile
            and claim not in self.replicas_said(signer)
            and number != self.next_number
        ):
            raise Parted(f"honest validator {signer} has never said {claim}")
        candidate_id = SKIP_ID if kind == VoteKind.SKIP else self.offered[number].id
        message = vote_message(CHAIN_ID, EPOCH, kind, View(view), candidate_id)
        signature = self.scheme.sign(self._secrets[signer], message)
        return Vote(kind, EPOCH, View(view), candidate_id, signer, signature)

    def replicas_said(self, signer: int) -> set[Claim]:
        return self.replicas[signer].said if signer in self.replicas else set()

    def certificate(self, claim: Claim) -> Certificate:
        """The certificate of all honest validators that have said it, and all the hostile."""
        kind, view, number = claim
        signers = {i for i in self.replicas if claim in self.replicas[i].said} | self.hostile
        total = self.scheme.new_sum()
        for signer in sorted(signers):
            total.add(self.vote(signer, claim).signature)
        candidate_id = SKIP_ID if kind == VoteKind.SKIP else self.offered[number].id
        return Certificate(
            kind, EPOCH, View(view), candidate_id, self.table.bitmap(signers), total.signature()
        )

    def _count_rules(self, replica: Replica) -> None:
        self.rules |= {rule.name for rule, count in replica.core.fired.items() if count}
