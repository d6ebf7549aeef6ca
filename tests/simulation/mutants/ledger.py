"""Planted faults in the ledger and what is under it: evidence, sets, and how a commit gets onto the disk."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from msgspec.structs import replace

from omnitensor.protocol.attendance import check_attendance
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Height
from omnitensor.protocol.votes import ValidatorEntry, ValidatorTable
from p2p.messages import BlocksRequest
from p2p.ranges import read_blocks
from p2p.sync import Range
from state.ledger import downtime, epochs, slashing
from state.overlay import Overlay
from state.records import Validator
from state.schema import DOWNTIME, VALIDATORS
from state.store import Batch, Store

true_room = downtime._room
true_slash = slashing.slash


class HastyStore(Store):
    """A commit returns before it is on disk."""

    def write(self, batch: Batch) -> None:
        with self._raw.write_batch(sync=False) as unsynced:
            for key, value in batch:
                if value is None:
                    unsynced.delete(key)
                else:
                    unsynced.put(key, value)


def slash_twice(view: Any, ctx: Any, address: Any, share_bps: int) -> int:
    return true_slash(view, ctx, address, share_bps) + true_slash(view, ctx, address, share_bps)


def believe(found: Any, chain_id: str, table: Any, scheme: Any, workers: Any) -> tuple[int, ...]:
    """Evidence on chain without a look at its signatures."""
    culprits: tuple[int, ...] = found.culprits
    return culprits


def may_vote_again(row: Validator, params: Params) -> bool:
    """Whoever has stake votes, convicted or not."""
    return row.stake >= params.validator_stake_min


def nothing_unbonds(view: Any, ctx: Any, address: Any, row: Validator, amount: int) -> int:
    """A removed validator's stake stays where it is."""
    return 0


def removed_only(view: Any, address: Any) -> None:
    """A conviction that takes money, and lets its validator stay."""


def read_loosely(ready: Range) -> tuple[Block, ...]:
    """A range whose transactions nobody holds against their headers."""
    request = BlocksRequest(Height(ready.from_height), len(ready.response.blocks))
    return read_blocks(request, ready.response)


def choose_before(view: Overlay, params: Params) -> tuple[ValidatorEntry, ...]:
    """The set as it was before the boundary block: one block too early."""
    able = [
        (-row.stake, key, row)
        for key, row in view._base.rows(VALIDATORS, b"", b"", False)
        if epochs.may_vote(row, params)
    ]
    able.sort(key=lambda each: each[:2])
    chosen = [epochs.entry_of(key, row) for _, key, row in able[: params.validators_max]]
    return tuple(sorted(chosen, key=lambda entry: entry.address))


def believe_attendance(header: Any, parent: Any, table: Any, scheme: Any) -> None:
    """A block names whom it likes."""


class AnyNumberTable(ValidatorTable):
    """One voter is enough."""

    @cached_property
    def quorum_weight(self) -> int:
        return 1


def check_few(header: Any, parent: Any, table: ValidatorTable, scheme: Any) -> None:
    """Attendance whose signatures are genuine, however few."""
    check_attendance(header, parent, AnyNumberTable(table.epoch, table.entries), scheme)


def any_room(view: Any, ctx: Any, voting: int) -> int:
    """Everybody may be in jail at once."""
    return 2**60


def room_and_memory(view: Any, ctx: Any, voting: int) -> int:
    """Whoever was absent once is absent for good, as it were the epoch before."""
    room = true_room(view, ctx, voting)
    for key, row in view._base.rows(DOWNTIME, b"", b"", False):
        if row.until == 0 and view.get(DOWNTIME, key) is None:
            view.put(DOWNTIME, replace(row, last_epoch=ctx.epoch), key)
    return room


def may_vote_in_jail(row: Validator, params: Params) -> bool:
    """Jail keeps nobody from voting."""
    return not row.removed and row.stake >= params.validator_stake_min
