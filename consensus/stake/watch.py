"""Remembers verified votes of the latest views, so that a vote that comes after its view was final still convicts.

The core forgets a view once it is final; a second process with a validator's key may be heard only later, when a partition heals.
Pure; bounded by ``watched_views_max``. Verifies nothing: what is remembered was verified, and what is found must be.
"""

from collections import OrderedDict

from consensus.stake.evidence import ConflictingVotes, conflicts
from omnitensor.protocol import limits
from omnitensor.protocol.types import Epoch, Hash, View
from omnitensor.protocol.votes import Vote, VoteKind

Place = tuple[Epoch, View]


class Watch:
    """At most one vote of each kind of each validator in each view; a second of one kind is found to conflict at once."""

    def __init__(self, views_max: int = limits.watched_views_max) -> None:
        self._views_max = views_max
        self._views: OrderedDict[Place, dict[tuple[int, VoteKind], Vote]] = OrderedDict()

    def remember(self, vote: Vote) -> None:
        """Keep a verified vote. The views heard of longest ago make room."""
        place = (Epoch(vote.epoch), View(vote.view))
        votes = self._views.get(place)
        if votes is None:
            votes = self._views[place] = {}
            if len(self._views) > self._views_max:
                self._views.popitem(last=False)
        votes.setdefault((vote.signer, vote.kind), vote)

    def conflict(self, vote: Vote) -> ConflictingVotes | None:
        """Evidence of a vote and a remembered one that contradict each other; its signature is not verified here."""
        votes = self._views.get((Epoch(vote.epoch), View(vote.view)))
        if votes is None:
            return None
        for kind in VoteKind:
            known = votes.get((vote.signer, kind))
            if known is not None and conflicts(
                known.kind, Hash(known.candidate_id), vote.kind, Hash(vote.candidate_id)
            ):
                return ConflictingVotes.of(known, vote)
        return None
