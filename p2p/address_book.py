"""Addresses of nodes, in buckets by network group, so that one operator can't crowd out the rest. No sockets.

What is heard of goes into a `new` bucket, chosen by a secret salt, the address's group and the group of who told; what answered
goes into a `tried` bucket, chosen by salt and group. A bucket holds `limits.addresses_per_bucket_max`; when it is full the entry
with the most failures, then the least recently good, gives way. Saved as JSON.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from omnitensor.protocol import limits
from omnitensor.protocol.errors import StorageError
from p2p.messages import PeerAddress, PeerId
from p2p.peers import LOCAL, is_address, network_group

_FORMAT: Final = 1
_FAILURES_MAX: Final = 8
"""A new address that failed so often is forgotten."""
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Entry:
    """An address and its history; times are Unix milliseconds, 0 for never."""

    address: PeerAddress
    source: str
    """Network group of who told."""
    tried: bool = False
    good_ms: int = 0
    attempt_ms: int = 0
    failures: int = 0


class AddressBook:
    """The one owner of known addresses: at most one for an identity."""

    def __init__(self, own_id: PeerId, salt: bytes | None = None) -> None:
        self._own_id = own_id
        self._salt = salt or os.urandom(16)
        self._entries: dict[PeerId, Entry] = {}
        self._buckets: dict[tuple[bool, int], list[PeerId]] = {}
        self._told: dict[str, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, peer_id: PeerId) -> Entry | None:
        return self._entries.get(peer_id)

    def hear(self, addresses: Iterable[PeerAddress], source_host: str, now_ms: int) -> int:
        """Takes hearsay of a peer at `source_host`; how many were new. Too many from one group in an hour are left out,
        and local addresses from anywhere but the own machine."""
        source, added = network_group(source_host), 0
        for address in addresses:
            known = self._entries.get(address.peer_id)
            if address.peer_id == self._own_id or known is not None or not is_address(address.host):
                continue
            if network_group(address.host) == LOCAL and source != LOCAL:
                continue
            if not self._count_told(source, now_ms):
                break
            self._place(Entry(address, source))
            added += address.peer_id in self._entries
        return added

    def good(self, address: PeerAddress, now_ms: int) -> None:
        """A dialled connection proved the address: it is tried now."""
        if address.peer_id == self._own_id:
            return
        old = self._remove(address.peer_id)
        source = old.source if old else network_group(address.host)
        self._place(Entry(address, source, True, now_ms, now_ms, 0))

    def failed(self, peer_id: PeerId, now_ms: int) -> None:
        """A dialled address did not answer, or is no node of this chain."""
        entry = self._entries.get(peer_id)
        if entry is None:
            return
        entry = replace(entry, failures=entry.failures + 1, attempt_ms=now_ms)
        self._entries[peer_id] = entry
        if entry.failures >= _FAILURES_MAX:
            self._remove(peer_id)
            if entry.tried:
                self._place(replace(entry, tried=False, failures=_FAILURES_MAX // 2))

    def choose(self, exclude: Iterable[PeerId], now_ms: int, rng: random.Random) -> PeerAddress | None:
        """An address to dial: a bucket at random, tried or new at even odds, so that a group's weight is its buckets."""
        excluded = set(exclude)
        for tried in (True, False) if rng.random() < 0.5 else (False, True):
            places = sorted(place for place in self._buckets if place[0] is tried)
            rng.shuffle(places)
            for place in places:
                ready = [
                    entry.address
                    for peer_id in self._buckets[place]
                    if peer_id not in excluded and _rested(entry := self._entries[peer_id], now_ms)
                ]
                if ready:
                    return rng.choice(ready)
        return None

    def sample(self, count: int, rng: random.Random, *, local: bool) -> tuple[PeerAddress, ...]:
        """Addresses for a peer that asks; those of the own machine only where it is there too."""
        known = [
            entry.address
            for entry in self._entries.values()
            if not entry.failures and (local or network_group(entry.address.host) != LOCAL)
        ]
        return tuple(rng.sample(known, min(count, len(known))))

    def dump(self) -> str:
        """The book as JSON text."""
        rows = [
            [
                entry.address.peer_id.hex(),
                entry.address.host,
                entry.address.port,
                entry.source,
                entry.tried,
                entry.good_ms,
                entry.attempt_ms,
                entry.failures,
            ]
            for entry in self._entries.values()
        ]
        return json.dumps({"format": _FORMAT, "salt": self._salt.hex(), "addresses": rows}, indent=0)

    @classmethod
    def load(cls, path: Path, own_id: PeerId) -> AddressBook:
        """The saved book, or an empty one where there is none. Raises StorageError for a file that is no address book."""
        if not path.exists():
            return cls(own_id)
        try:
            size = path.stat().st_size
            if size > limits.address_book_bytes_max:
                raise ValueError(f"{size} bytes are more than {limits.address_book_bytes_max}")
            saved = json.loads(path.read_text(encoding="utf-8"))
            if saved["format"] != _FORMAT:
                raise ValueError(f"format {saved['format']}")
            book = cls(own_id, bytes.fromhex(saved["salt"]))
            for row in saved["addresses"]:
                book._place(_entry_of(row))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StorageError(
                "not an address book",
                value=f"{path}: {error}",
                remedy="remove the file; the node finds peers anew",
            ) from error
        return book

    def _count_told(self, source: str, now_ms: int) -> bool:
        start_ms, count = self._told.get(source, (now_ms, 0))
        if now_ms - start_ms >= _HOUR_MS or now_ms < start_ms:
            start_ms, count = now_ms, 0
        if source not in self._told and len(self._told) >= limits.bans_max:
            self._told.clear()
        self._told[source] = (start_ms, count + 1)
        return count < limits.addresses_from_peer_per_hour_max

    def _bucket(self, entry: Entry) -> tuple[bool, int]:
        group = network_group(entry.address.host)
        key = group if entry.tried else f"{group}\0{entry.source}"
        # Within a group a few buckets, by the identity, so that one group fills no more than these.
        spread = sha256(self._salt + entry.address.peer_id).digest()[0] % 4
        digest = sha256(self._salt + f"{entry.tried}\0{key}\0{spread}".encode()).digest()
        count = limits.tried_buckets if entry.tried else limits.new_buckets
        return entry.tried, int.from_bytes(digest[:4], "big") % count

    def _place(self, entry: Entry) -> None:
        """Puts an entry into its bucket, where the worst gives way, which may be the entry itself."""
        if entry.address.peer_id in self._entries or entry.address.peer_id == self._own_id:
            return
        place = self._bucket(entry)
        bucket = self._buckets.setdefault(place, [])
        bucket.append(entry.address.peer_id)
        self._entries[entry.address.peer_id] = entry
        if len(bucket) > limits.addresses_per_bucket_max:
            worst = max(bucket, key=lambda peer_id: _badness(self._entries[peer_id]))
            evicted = self._entries[worst]
            self._remove(worst)
            if evicted.tried and evicted.failures < _FAILURES_MAX:
                self._place(replace(evicted, tried=False))

    def _remove(self, peer_id: PeerId) -> Entry | None:
        entry = self._entries.get(peer_id)
        if entry is None:
            return None
        place = self._bucket(entry)
        self._buckets[place].remove(peer_id)
        if not self._buckets[place]:
            del self._buckets[place]
        return self._entries.pop(peer_id)


def write_book(path: Path, text: str) -> None:
    """Writes a book's text; a reader sees the old one or the new one, never half of either. Raises OSError."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def _badness(entry: Entry) -> tuple[int, int]:
    return entry.failures, -entry.good_ms


def _rested(entry: Entry, now_ms: int) -> bool:
    """Whether an address may be dialled again: after a failure the wait doubles."""
    if not entry.failures:
        return True
    wait_ms = min(limits.redial_ms_max * 2 ** min(entry.failures, 6), _HOUR_MS)
    return not 0 <= now_ms - entry.attempt_ms < wait_ms


def _entry_of(row: Any) -> Entry:
    peer_id, host, port, source, tried, good_ms, attempt_ms, failures = row
    numbers = (port, good_ms, attempt_ms, failures)
    if not all(type(number) is int and number >= 0 for number in numbers) or type(tried) is not bool:
        raise ValueError(f"a row of wrong types: {str(row)[:80]}")
    identity = bytes.fromhex(peer_id)
    if len(identity) != 32 or not 0 < port < 65_536 or not 0 < len(host) <= limits.host_chars_max:
        raise ValueError(f"a row out of bounds: {str(row)[:80]}")
    return Entry(PeerAddress(PeerId(identity), host, port), str(source), tried, good_ms, attempt_ms, failures)
