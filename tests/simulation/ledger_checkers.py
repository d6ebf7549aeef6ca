"""What must hold of the ledger in every execution, checked from the rows on disk: shares no code with the product.

Rows are read as the schema's page says: a prefix byte, then the key; values are arrays of msgpack. Money in nanoOMNIT.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgpack

from tests.simulation.jail_checkers import JailCheckers

NANO = 10**9
SUPPLY = 1_000_000_000 * NANO
ACCOUNTS, POTS, VALIDATORS, UNBONDING, SETS, CONVICTIONS = 0x11, 0x12, 0x16, 0x18, 0x1A, 0x1B
ATTENDANCE, WORKERS, WORKER_SETS = 0x36, 0x50, 0x51
STATE = range(0x10, 0x80)
OWN_POTS = (b"campaigns", b"bonds", b"rewards", b"reserve", b"burned")
"""Those whose money is in no row but their own."""
SLASH_BPS, JAIL_SLASH_BPS, BURN_BPS, REPORTER_BPS, BPS = 500, 1, 5_000, 2_000, 10_000
TAG = sha256(b"omnitensor/validators/1").digest()

Rows = dict[bytes, bytes]


class LedgerCheckers:
    """Looks at the state after every commit of an honest node."""

    def __init__(
        self,
        violated: Callable[[str], None],
        validator_at: dict[bytes, int],
        hostile: frozenset[int],
        weights: tuple[int, ...],
        epoch_blocks: int,
        validators_max: int,
        jails: JailCheckers,
    ) -> None:
        """``weights`` in whole OMNIT; hostile validators never change their stake of their own will."""
        self._jails = jails
        self._violated = violated
        self._validator_at = validator_at
        self._hostile = hostile
        self._weights = weights
        self._epoch_blocks = epoch_blocks
        self._validators_max = validators_max
        self._states: dict[int, Rows] = {}
        self.sets: dict[int, list[list[Any]]] = {}
        """Entries of each epoch's table as computed here: address, key, weight."""
        self._attendance: dict[int, Counter[int]] = {}
        """By height: how many blocks of its epoch so far named each voter, and under -1 how many named any."""
        self.convicted: dict[bytes, int] = {}
        """Height by address."""

    def begin(self, rows: Rows) -> None:
        """The state at genesis."""
        state = _state_of(rows)
        self._states[0] = state
        self.sets[0] = self._choose(state)

    def members(self, epoch: int) -> tuple[tuple[int, int], ...]:
        """Validator and weight by index in an epoch's table."""
        return tuple((self._validator_at[address], weight) for address, _, weight in self.sets[epoch])

    @property
    def jailed(self) -> set[int]:
        """Validators that were jailed for downtime at some boundary."""
        return {self._validator_at[address] for address in self._jails.times}

    def epochs_below(self, part: int) -> int:
        """Epochs at whose end some voter was named by less than one in so many of the blocks that name any."""
        ends = [tally for height, tally in self._attendance.items() if height % self._epoch_blocks == 0]
        voters = range(len(self._weights))
        return sum(any(part * tally[voter] < tally[-1] for voter in voters) for tally in ends)

    def set_changes(self) -> Counter[str]:
        """How often a set was not the one before it: who joined, who left, whose key or weight is another."""
        counts: Counter[str] = Counter()
        for epoch in sorted(self.sets)[1:]:
            before = {entry[0]: entry for entry in self.sets[epoch - 1]}
            after = {entry[0]: entry for entry in self.sets[epoch]}
            counts["epochs"] += 1
            counts["joined"] += len(after.keys() - before.keys())
            counts["left"] += len(before.keys() - after.keys())
            for address in before.keys() & after.keys():
                counts["keys changed"] += before[address][1] != after[address][1]
                counts["weights changed"] += before[address][2] != after[address][2]
        return counts

    def attended(self, height: int, voters: tuple[int, ...]) -> None:
        """Whom a final block names, by index in the table of its epoch; called for every block before the state above it."""
        if height in self._attendance:
            return
        first = (height - 1) % self._epoch_blocks == 0
        tally = Counter() if first else Counter(self._attendance[height - 1])
        tally[-1] += bool(voters)
        tally.update(voters)
        self._attendance[height] = tally

    def _check_attendance(self, height: int, state: Rows) -> None:
        epoch = (height - 1) // self._epoch_blocks
        tally = self._attendance[height]
        row = state.get(bytes([ATTENDANCE]) + epoch.to_bytes(8, "big"))
        counted = [0, []] if row is None else _read(row)
        places = range(len(self.sets[epoch])) if tally[-1] else ()
        if counted != [tally[-1], [tally[place] for place in places]]:
            self._violated(
                f"the attendance at height {height} is {counted}, and the blocks say {dict(tally)}"
            )

    def committed(self, index: int, height: int, header: Any, rows: Rows) -> None:
        """A node's state after a block, which is its head."""
        state = _state_of(rows)
        known = self._states.get(height)
        if known is not None:
            if known != state:
                keys = sorted(key for key in {*known, *state} if known.get(key) != state.get(key))
                self._violated(
                    f"node {index} has another state at height {height} in {len(keys)} rows, first {keys[0].hex()}"
                )
            return
        self._states[height] = state
        self._check_supply(height, state)
        self._check_convictions(height, state)
        self._check_sets(height, header, state)
        self._check_attendance(height, state)

    def _check_supply(self, height: int, state: Rows) -> None:
        total = 0
        sums = {b"accounts": 0, b"stake": 0, b"unbonding": 0, b"work bonds": 0}
        for key, value in state.items():
            if key[0] == ACCOUNTS:
                sums[b"accounts"] += _read(value)[0]
            elif key[0] == VALIDATORS:
                sums[b"stake"] += _read(value)[0]
            elif key[0] == UNBONDING:
                sums[b"unbonding"] += _read(value)[0]
            elif key[0] == WORKERS:
                sums[b"work bonds"] += _read(value)[0]
            elif key[0] == POTS and key[1:] in OWN_POTS:
                total += _read(value)[0]
        total += sum(sums.values())
        if total != SUPPLY:
            self._violated(f"the supply at height {height} is {total - SUPPLY} nanoOMNIT off")
        for name, found in sums.items():
            pot = state.get(bytes([POTS]) + name)
            if (0 if pot is None else _read(pot)[0]) != found:
                self._violated(f"the pot {name.decode()} at height {height} is not the sum of its rows")

    def _check_convictions(self, height: int, state: Rows) -> None:
        for key, value in state.items():
            if key[0] != CONVICTIONS:
                continue
            address, (_, _, _, _, at, reporter, slashed, burned, reward) = key[1:], _read(value)
            validator = self._validator_at.get(address, -1)
            if self.convicted.setdefault(address, at) != at:
                self._violated(f"validator {validator} is convicted twice")
            if validator not in self._hostile:
                self._violated(f"the ledger convicted the honest validator {validator} at height {at}")
                continue
            had = self._weights[validator] * NANO
            for _ in range(self._jails.times[address]):
                had -= had * JAIL_SLASH_BPS // BPS
            row = _read(state[bytes([VALIDATORS]) + address])
            rest = row[0] + sum(
                _read(waiting)[0]
                for place, waiting in state.items()
                if place[0] == UNBONDING and place[9:42] == address
            )
            if slashed != had * SLASH_BPS // BPS or (rest not in (0, had - slashed)):
                self._violated(f"validator {validator} was slashed by {slashed} of {had}, and keeps {rest}")
            due = 0 if reporter == address else (slashed - burned) * REPORTER_BPS // BPS
            if burned != slashed * BURN_BPS // BPS or reward != due:
                self._violated(f"of {slashed} slashed {burned} burned, and the reporter got {reward}")
            if not row[9] or not row[7]:
                self._violated(f"validator {validator} was convicted and not removed")

    def _check_sets(self, height: int, header: Any, state: Rows) -> None:
        epoch = max(height - 1, 0) // self._epoch_blocks
        following = epoch
        if height % self._epoch_blocks == 0:
            following = epoch + 1
            register = {key[1:]: _read(row) for key, row in state.items() if key[0] == VALIDATORS}
            self._jails.boundary(
                height,
                epoch,
                self.sets[epoch],
                self._attendance[height],
                register,
                _is_led_by_work(epoch, state),
            )
            self.sets[following] = self._choose(state) or self.sets[epoch]
            for address, _, _ in self.sets[following]:
                if address in self.convicted:
                    self._violated(
                        f"validator {self._validator_at[address]} is convicted, and votes in epoch {following}"
                    )
        for named, number in ((header.validators_hash, epoch), (header.next_validators_hash, following)):
            if number in self.sets and named != _hash_of(number, self.sets[number]):
                self._violated(
                    f"the header of block {height} names another set for epoch {number} than the state gives"
                )
        row = state.get(bytes([SETS]) + following.to_bytes(8, "big"))
        if row is None or (following in self.sets and _read(row)[1] != self.sets[following]):
            self._violated(f"the state at height {height} holds another set for epoch {following}")

    def _choose(self, state: Rows) -> list[list[Any]]:
        """The largest by stake of those that are neither jailed nor removed; ties by address; sorted by address."""
        able = []
        for key, value in state.items():
            if key[0] == VALIDATORS:
                row = _read(value)
                if not row[7] and not row[9] and row[0] >= NANO:
                    able.append((-row[0], key[1:], row[4]))
        able.sort()
        return sorted(
            [address, consensus, -stake // NANO] for stake, address, consensus in able[: self._validators_max]
        )


def _state_of(rows: Rows) -> Rows:
    return {key: value for key, value in rows.items() if key[0] in STATE}


def _is_led_by_work(epoch: int, state: Rows) -> bool:
    row = state.get(bytes([WORKER_SETS]) + epoch.to_bytes(8, "big"))
    workers, tickets = ([], 0) if row is None else _read(row)
    return tickets >= 8 and any(credit for _, _, credit in workers)


def _read(value: bytes) -> list[Any]:
    return msgpack.unpackb(value)  # type: ignore[no-any-return]  # rows are arrays


def _hash_of(epoch: int, entries: list[list[Any]]) -> bytes:
    data = msgpack.packb([epoch, entries])
    return sha256(TAG + TAG + len(data).to_bytes(4, "big") + data).digest()
