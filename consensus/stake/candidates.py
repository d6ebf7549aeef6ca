"""Candidates with their blocks above the final one: which are here, which were executed and found valid, which are missing.

Holds the tree and what is known of it; sends nothing and votes for nothing. Who may enter is the core's decision: a view has at
most two candidates here, the leader's first and the one that a quorum chose.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum

from consensus.stake.safety import Kept
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.types import Hash, Height, TimeMs, View
from omnitensor.protocol.votes import Candidate


class Status(Enum):
    """What this node knows of a block's validity."""

    NEW = "not executed"
    CHECKING = "being executed"
    VALID = "executed here and valid"
    INVALID = "breaks a rule"


@dataclass(slots=True)
class Entry:
    """A candidate. One that came without a block is a filler, or was sent without what belongs to it: its parent tells."""

    id: Hash
    candidate: Candidate
    block: Block | None
    height: Height
    """Of its block; of a filler the boundary's."""
    timestamp_ms: TimeMs | None
    """Of its block; of a filler its parent's, None until that is known."""
    status: Status = Status.NEW
    fault: str = ""

    @property
    def view(self) -> View:
        return View(self.candidate.view)


@dataclass(slots=True)
class Missing:
    """A candidate that a certificate names and that is not here."""

    view: View
    ask_at_ms: int
    attempt: int = 0


class Candidates:
    """The candidates above the final one, and the last few final ones for peers that are a little behind."""

    def __init__(self, final_kept: int, missing_max: int, boundary: Height) -> None:
        self._boundary = boundary
        self._entries: dict[Hash, Entry] = {}
        self._children: dict[Hash, list[Hash]] = {}
        self._missing: dict[Hash, Missing] = {}
        self._recent: OrderedDict[Hash, Kept] = OrderedDict()
        self._final_kept = final_kept
        self._missing_max = missing_max

    def get(self, candidate_id: Hash) -> Entry | None:
        return self._entries.get(candidate_id)

    def find(self, candidate_id: Hash) -> Kept | None:
        """Candidate and block, final or not, for a peer that asks."""
        entry = self._entries.get(candidate_id)
        if entry is not None:
            return Kept(entry.candidate, entry.block)
        return self._recent.get(candidate_id)

    def put(self, candidate_id: Hash, candidate: Candidate, block: Block | None) -> Entry:
        """Take in a candidate with its block, if it has one. The id is the caller's, computed from the candidate."""
        entry = self._entries.get(candidate_id)
        if entry is None:
            height = self._boundary if block is None else Height(block.header.height)
            timestamp_ms = None if block is None else TimeMs(block.header.timestamp_ms)
            entry = Entry(candidate_id, candidate, block, height, timestamp_ms)
            self._entries[candidate_id] = entry
        elif entry.block is None and block is not None and entry.status is Status.NEW:
            entry.block, entry.height = block, Height(block.header.height)
            entry.timestamp_ms = TimeMs(block.header.timestamp_ms)
        self._missing.pop(candidate_id, None)
        return entry

    def drop(self, candidate_id: Hash) -> None:
        """Forget one that came without its block; whoever waits for it goes on waiting."""
        self._entries.pop(candidate_id, None)

    # -- order of execution: a child waits for its parent

    def wait_for(self, parent_id: Hash, child_id: Hash) -> None:
        children = self._children.setdefault(parent_id, [])
        if child_id not in children:
            children.append(child_id)

    def take_waiting(self, parent_id: Hash) -> tuple[Hash, ...]:
        """Those that waited for this parent, each returned once."""
        return tuple(self._children.pop(parent_id, ()))

    # -- what is missing

    def miss(self, candidate_id: Hash, view: View, ask_at_ms: int) -> None:
        """Note that a candidate is wanted. With too many wanted the newest views wait until older ones are here."""
        if candidate_id in self._entries or candidate_id in self._missing:
            return
        if len(self._missing) >= self._missing_max:
            newest = max(self._missing, key=lambda wanted: (self._missing[wanted].view, wanted))
            if self._missing[newest].view <= view:
                return
            del self._missing[newest]
        self._missing[candidate_id] = Missing(view, ask_at_ms)

    def misses(self, candidate_id: Hash) -> bool:
        return candidate_id in self._missing

    def attempts(self, candidate_id: Hash) -> int:
        """How often a missing candidate was asked for."""
        missing = self._missing.get(candidate_id)
        return missing.attempt if missing is not None else 0

    def due(self, now_ms: int) -> tuple[tuple[Hash, Missing], ...]:
        return tuple((wanted, m) for wanted, m in self._missing.items() if m.ask_at_ms <= now_ms)

    def next_ask_ms(self) -> int | None:
        return min((missing.ask_at_ms for missing in self._missing.values()), default=None)

    def shift(self, by_ms: int) -> None:
        """The clock was set back."""
        for missing in self._missing.values():
            missing.ask_at_ms += by_ms

    # -- pruning

    def finalize(self, chain: tuple[Entry, ...]) -> None:
        """These became final: keep the last few for peers that ask."""
        for entry in chain:
            self._recent[entry.id] = Kept(entry.candidate, entry.block)
        while len(self._recent) > self._final_kept:
            self._recent.popitem(last=False)

    def prune(self, final_view: View) -> None:
        """Forget what belongs to views up to the final one."""
        dead = [wanted for wanted, entry in self._entries.items() if entry.view <= final_view]
        for wanted in dead:
            del self._entries[wanted]
        for wanted in [wanted for wanted, missing in self._missing.items() if missing.view <= final_view]:
            del self._missing[wanted]
        living = {parent: [c for c in kids if c in self._entries] for parent, kids in self._children.items()}
        self._children = {parent: kids for parent, kids in living.items() if kids}

    def __len__(self) -> int:
        return len(self._entries)
