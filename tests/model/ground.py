"""What all areas of the model stand on: rows that can be taken back, refusals, and hashes as the specification writes them.

Shares no code with the ledger.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

BPS = 10_000
SUPPLY = 10**18
GONE = object()


class Refused(Exception):
    """A rule of the order's kind refuses it; fee, tip and nonce stay."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Kept(Exception):
    """The order is refused, and what was written before its own rule was asked stays."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Unpayable(Exception):
    """The transaction can't stand in the block at all."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Log:
    """What was overwritten, in order, so that a refused order leaves nothing behind. Rows hold values that never change."""

    def __init__(self) -> None:
        self.entries: list[tuple[dict[Any, Any], Any, Any]] = []

    def note(self, rows: dict[Any, Any], key: Any) -> None:
        self.entries.append((rows, key, rows.get(key, GONE)))

    def back(self, mark: int) -> None:
        while len(self.entries) > mark:
            rows, key, old = self.entries.pop()
            if old is GONE:
                dict.__delitem__(rows, key)
            else:
                dict.__setitem__(rows, key, old)


class Table(dict[Any, Any]):
    """A dict that can be taken back."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self.log = log

    def __setitem__(self, key: Any, value: Any) -> None:
        self.log.note(self, key)
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        self.log.note(self, key)
        super().__delitem__(key)

    def drop(self, key: Any) -> None:
        if key in self:
            del self[key]

    def add(self, key: Any, amount: int) -> None:
        self[key] = self.get(key, 0) + amount


class Thing:
    """Named values that can be taken back."""

    def __init__(self, log: Log, **values: Any) -> None:
        self.__dict__.update(values)
        self.__dict__["_log"] = log

    def __setattr__(self, name: str, value: Any) -> None:
        assert name in self.__dict__, f"nothing is called {name}"
        self._log.note(self.__dict__, name)
        self.__dict__[name] = value

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def values(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_log"}


class Ground:
    """What every area is given: the chain's numbers, the block under way, and its rows."""

    def __init__(
        self,
        chain_id: str,
        params: dict[str, Any],
        limits: dict[str, int],
        scheme: Any,
        accounts: dict[bytes, int],
        bytes_of: Any,
        transaction_of: Any,
    ) -> None:
        self.chain_id = chain_id
        self.log = Log()
        self.p = Thing(self.log, **params)
        self.limits = limits
        self.scheme = scheme
        """Says whether possession was proved, and whether keys signed a message."""
        self.bytes_of = bytes_of
        """Canonical bytes of an order, as they came."""
        self.transaction_of = transaction_of
        """The record in bytes that should be a transaction's, or None."""
        self.height = 0
        self.time_ms = 0
        self.beacon = b""
        self.proposer = b""
        self.counters = self.table()
        self.genesis_accounts = accounts
        for opened in type(self).__mro__[::-1]:
            if "open" in opened.__dict__:
                opened.open(self)  # type: ignore[attr-defined] # each area opens its own rows

    def table(self) -> Table:
        return Table(self.log)

    def thing(self, **values: Any) -> Thing:
        return Thing(self.log, **values)

    def count(self, name: str, first: int) -> int:
        """The next of consecutive numbers."""
        number: int = self.counters.get(name, first)
        self.counters[name] = number + 1
        return number

    @property
    def epoch(self) -> int:
        return max(self.height - 1, 0) // int(self.p.epoch_blocks)


def refuse_if(wrong: bool, code: str) -> None:
    if wrong:
        raise Refused(code)


def tagged(tag: str, *parts: bytes) -> bytes:
    """``SHA256(SHA256(tag) || SHA256(tag) || len(p1) || p1 || ...)``."""
    text = sha256(f"omnitensor/{tag}/1".encode()).digest() * 2
    for part in parts:
        text += len(part).to_bytes(4, "big") + part
    return sha256(text).digest()


def packed(value: Any) -> bytes:
    """Canonical MessagePack of whole numbers, bytes, text, nothing, and tuples of these."""
    if value is None:
        return b"\xc0"
    if isinstance(value, tuple):
        assert len(value) < 16
        return bytes([0x90 | len(value)]) + b"".join(packed(each) for each in value)
    if isinstance(value, str):
        text = value.encode()
        head = bytes([0xA0 | len(text)]) if len(text) < 32 else b"\xd9" + bytes([len(text)])
        return head + text
    if isinstance(value, bytes):
        if len(value) < 256:
            return b"\xc4" + bytes([len(value)]) + value
        return b"\xc5" + len(value).to_bytes(2, "big") + value
    number = int(value)
    assert number >= 0
    if number < 128:
        return bytes([number])
    for head, width in ((0xCC, 1), (0xCD, 2), (0xCE, 4)):
        if number < 256**width:
            return bytes([head]) + number.to_bytes(width, "big")
    return b"\xcf" + number.to_bytes(8, "big")


def parts_of(total: int, bps: int) -> int:
    """A share of an amount in basis points, rounded down."""
    return total * bps // BPS
