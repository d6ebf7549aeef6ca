"""The epoch that votes now, as the node needs it: its table, its leaders, how to verify its messages, and this node's place.

Read from a snapshot of the chain, and true for as long as the epoch lasts. Decides nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from consensus.schedule.leaders import LeaderSchedule
from consensus.stake.events import FinalPoint
from consensus.stake.scheme import Scheme
from consensus.stake.verify import Verifier
from omnitensor.protocol import limits
from omnitensor.protocol.epochs import boundary_of, epoch_of
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Address, BlsPublicKey, Epoch, Hash, Height, TimeMs
from omnitensor.protocol.votes import Certificate, Proposal, ValidatorTable, Vote
from p2p.messages import Gossip, PeerId
from state.ledger import worker_sets
from state.reader import Head, Reader


@dataclass(frozen=True, slots=True)
class EpochView:
    """One epoch, and this node's place in it."""

    table: ValidatorTable
    schedule: LeaderSchedule
    verifier: Verifier
    me: int | None
    """Its index in the table where it votes."""
    lead: int | None
    """Its index in the schedule where it may lead: as a validator ``me``, as a worker one beyond the table. None: it follows."""
    began_ms: TimeMs
    """Timestamp of the boundary block below it."""
    params: Params
    """In force when it was looked at; what consensus keeps time by stays so for all of the epoch that votes."""

    @property
    def number(self) -> Epoch:
        return self.table.epoch

    @property
    def address(self) -> Address | None:
        """The account that this node leads for."""
        return None if self.lead is None else self.schedule.address(self.lead)

    @classmethod
    def of(
        cls,
        reader: Reader,
        epoch: Epoch,
        genesis_hash: Hash,
        voter: BlsPublicKey | None,
        scheme: Scheme | None = None,
    ) -> "EpochView | None":
        """An epoch whose set is kept, for a node that signs with a key (None: follows); None where it is not kept."""
        schedule = worker_sets.leaders_of(reader, epoch, genesis_hash)
        if schedule is None:
            return None  # a stranger may name any epoch, also one whose boundary has no height
        below = reader.block(boundary_of(Epoch(epoch - 1), reader.params()))
        if below is None:
            return None
        table = schedule.table
        lead = None if voter is None else schedule.index_of_key(voter)
        return cls(
            table,
            schedule,
            Verifier(below.header.chain_id, table, schedule, scheme),
            lead if lead is not None and lead < len(table) else None,
            lead,
            TimeMs(below.header.timestamp_ms),
            reader.params(),
        )


def epoch_above(reader: Reader) -> Epoch:
    """The epoch of the block above the head."""
    return epoch_of(Height(reader.head.height + 1), reader.params())


def final_point_of(head: Head, epoch: Epoch) -> FinalPoint | None:
    """Where the core of the epoch above a head begins; None while the head is final only through a block above it."""
    timestamp_ms = TimeMs(head.header.timestamp_ms)
    if head.height == 0 or (head.header.epoch != epoch and head.proof is not None):
        return FinalPoint.root(head.hash, head.height, timestamp_ms, head.proof)  # R0
    if head.proof is None:
        return None
    candidate = head.proof.candidate
    return FinalPoint(candidate.view, candidate.id, head.hash, head.height, timestamp_ms, head.proof)


def epoch_of_message(message: Gossip) -> Epoch:
    return Epoch(message.candidate.epoch if isinstance(message, Proposal) else message.epoch)


class EarlyMessages:
    """What came of the next epoch before this node was there, not verified, the first few of each peer.

    Where all room is taken, whoever has most gives way, so that strangers who say what nobody can judge yet crowd nobody out.
    """

    def __init__(self) -> None:
        self._held: list[tuple[PeerId, Gossip]] = []
        self._counts: dict[PeerId, int] = {}
        self._proposals = 0

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, peer_id: PeerId, message: Vote | Certificate | Proposal) -> bool:
        """Whether there was room."""
        count = self._counts.get(peer_id, 0)
        if count >= limits.early_messages_per_peer_max:
            return False
        if len(self._held) >= limits.early_messages_max and not self._make_room(count):
            return False
        if isinstance(message, Proposal):
            if self._proposals >= limits.early_proposals_max:
                return False
            self._proposals += 1
        self._counts[peer_id] = count + 1
        self._held.append((peer_id, message))
        return True

    def _make_room(self, count: int) -> bool:
        """Lets go of the last vote or certificate of the peer with the most, where that has more than ``count`` and one."""
        most = max(self._counts, key=lambda peer_id: self._counts[peer_id])
        if self._counts[most] <= count + 1:
            return False
        for place in range(len(self._held) - 1, -1, -1):
            if self._held[place][0] == most and not isinstance(self._held[place][1], Proposal):
                del self._held[place]
                self._counts[most] -= 1
                return True
        return False

    def take(self) -> Iterator[tuple[PeerId, Gossip]]:
        """All of it, in order; then there is none."""
        held: Final = self._held
        self._held, self._counts, self._proposals = [], {}, 0
        return iter(held)
