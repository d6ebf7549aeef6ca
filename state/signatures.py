"""Checks the signatures of transactions: each once, and a block's in a process of its own while the block is executed.

Knows no state; who may sign for whom is the ledger's to say.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from omnitensor.protocol.errors import SignatureError
from omnitensor.protocol.limits import signatures_cached_max
from state.ledger.prepared import Prepared
from state.signature_child import NUMBER_BYTES, is_signed, receive

CHILD_MIN: Final = 128
"""Fewer signatures than this, 10 ms of work, are checked in the chain's thread: no process is started or woken for them."""
ANSWER_S: Final = 30.0
"""A child that says nothing for so long (a block takes it a fifth of a second) is given up, and its work is done here."""
_BOOT: Final = "import sys; sys.path[:] = sys.argv[1:]; from state.signature_child import main; main()"
_KEPT_ENVIRONMENT: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class SignatureChecker:
    """Remembers which signatures were good, by id of the transaction and signature. Mempool and chain may share one."""

    def __init__(self) -> None:
        self._good: dict[bytes, None] = {}
        self._child: _Child | None = None

    def check(self, prepared: Prepared) -> None:
        """Checks one, and remembers it. Raises SignatureError."""
        key = _key(prepared)
        if key in self._good:
            return
        if not _is_good(prepared):
            raise SignatureError(
                "the signature is not the signer's over this transaction",
                value=prepared.transaction.signature,
                remedy="sign it again, for this chain and with the signer's key",
            )
        if len(self._good) >= signatures_cached_max:
            kept = list(self._good)[signatures_cached_max // 2 :]
            self._good = dict.fromkeys(kept)
        self._good[key] = None

    def begin(self, transactions: Sequence[Prepared]) -> Checking:
        """Begins to check a block's. The last one that was begun must have been asked for its outcome: there is one child."""
        good = self._good
        unknown = (
            [i for i, prepared in enumerate(transactions) if _key(prepared) not in good]
            if good
            else list(range(len(transactions)))
        )
        child = None
        if len(unknown) >= CHILD_MIN:
            if self._child is None:
                self._child = _Child()
            child = self._child
            child.ask([transactions[i] for i in unknown])
        return Checking(transactions, unknown, child)

    def first_bad(self, transactions: Sequence[Prepared]) -> int | None:
        """Index of a transaction with a bad signature, or None. Good ones are not remembered: a block comes once."""
        return self.begin(transactions).first_bad()

    def forget(self, transactions: Sequence[Prepared]) -> None:
        """Forgets those of a block that is final: they can't come again."""
        if self._good:
            for prepared in transactions:
                self._good.pop(_key(prepared), None)

    def close(self) -> None:
        """Ends the child."""
        if self._child is not None:
            self._child.close()


class Checking:
    """A block's signatures while they are checked."""

    __slots__ = ("_child", "_transactions", "_unknown")

    def __init__(self, transactions: Sequence[Prepared], unknown: list[int], child: _Child | None) -> None:
        self._transactions: Final = transactions
        self._unknown: Final = unknown
        self._child: Final = child

    def first_bad(self) -> int | None:
        """Index of the first transaction with a bad signature, or None. Waits for the child; to be called once."""
        unknown = self._unknown
        good = None if self._child is None else self._child.answer()
        if good is None:
            # Too few for a child, or it is gone.
            return next((index for index in unknown if not _is_good(self._transactions[index])), None)
        assert good <= len(unknown), "the child counts what it was asked"
        return None if good == len(unknown) else unknown[good]


class _Child:
    """The process of ``signature_child``, started with the first question, and again after one at which it ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._door: socket.socket | None = None

    def ask(self, prepared: Sequence[Prepared]) -> None:
        """Asks for these. Where that can't be done, ``answer`` says None."""
        parts = [len(prepared).to_bytes(NUMBER_BYTES, "big")]
        for one in prepared:
            transaction = one.transaction
            parts += (transaction.signature, one.id, transaction.signer)
        try:
            self._open_door().sendall(b"".join(parts))
        except OSError:
            self.close()

    def answer(self) -> int | None:
        """How many were good before the first bad one; None where the child is not there, or gave no answer in time."""
        if self._door is None:
            return None
        try:
            said = receive(self._door, NUMBER_BYTES)
        except OSError:
            said = None
        if said is None:
            self.close()
            return None
        return int.from_bytes(said, "big")

    def close(self) -> None:
        """Ends it; the next question starts another."""
        process, door = self._process, self._door
        self._process = self._door = None
        if door is not None:
            door.close()
        if process is not None:
            process.kill()
            process.wait()

    def _open_door(self) -> socket.socket:
        """The way to the child. Raises OSError where none can be started."""
        if self._door is None:
            ours, theirs = socket.socketpair()
            try:
                with theirs:
                    self._process = _start(theirs)
            except OSError:
                ours.close()
                raise
            ours.settimeout(ANSWER_S)
            self._door = ours
        return self._door


def _start(theirs: socket.socket) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-I", "-c", _BOOT, *(place for place in sys.path if place)],
        stdin=theirs.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd="/",
    )


def _key(prepared: Prepared) -> bytes:
    # The id covers everything but the signature, the signer included.
    return prepared.id + prepared.transaction.signature


def _is_good(prepared: Prepared) -> bool:
    transaction = prepared.transaction
    return is_signed(transaction.signature + prepared.id, transaction.signer)
