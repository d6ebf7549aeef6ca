"""The process that checks a block's signatures while the chain's thread executes it; and the one way to judge a signature.

Threads of the node itself won't do for that: each signature needs the interpreter's lock for a moment before and after, and who
executes a block holds it. Here the lock is another. Started by ``signatures.py`` as a fresh program, without secrets in memory or
environment; speaks over its standard input, a socket. A question is a number in four bytes and then that many signatures with
what they sign and by whom; the answer is four bytes: how many are good before the first bad one (as many as were asked for where
all are). Imports next to nothing, so that it starts in a moment and stays small.
"""

from __future__ import annotations

import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from nacl.bindings import crypto_sign_open
from nacl.exceptions import CryptoError

THREADS: Final = 2
NUMBER_BYTES: Final = 4
SIGNED_BYTES: Final = 64 + 32
"""A signature and the id of a transaction, which is what it signs."""
ITEM_BYTES: Final = SIGNED_BYTES + 32
"""And the signer's key."""


def is_signed(signed: bytes, key: bytes) -> bool:
    """Whether the first 64 bytes are the key's signature over the rest."""
    try:
        crypto_sign_open(signed, key)
    except CryptoError:
        return False
    return True


def good_before_bad(items: bytes) -> int:
    """How many signatures of a question are good before the first bad one."""
    for place, start in enumerate(range(0, len(items), ITEM_BYTES)):
        key = start + SIGNED_BYTES
        if not is_signed(items[start:key], items[key : start + ITEM_BYTES]):
            return place
    return len(items) // ITEM_BYTES


def receive(door: socket.socket, count: int) -> bytes | None:
    """As many bytes; None where the other end is closed before. Raises OSError."""
    data, have = bytearray(count), 0
    view = memoryview(data)
    while have < count:
        part = door.recv_into(view[have:])
        if not part:
            return None
        have += part
    return bytes(data)


def serve(door: socket.socket) -> None:
    """Answers questions until the other end of the door is closed."""
    with ThreadPoolExecutor(THREADS) as pool:
        while (head := receive(door, NUMBER_BYTES)) is not None:
            count = int.from_bytes(head, "big")
            items = receive(door, count * ITEM_BYTES)
            if items is None:
                return
            share = -(-count // THREADS)
            found = pool.map(
                good_before_bad,
                [items[at * ITEM_BYTES : (at + share) * ITEM_BYTES] for at in range(0, count, share)],
            )
            good = 0
            for at, part in zip(range(0, count, share), found, strict=True):
                if good == at:
                    good += part
            door.sendall(good.to_bytes(NUMBER_BYTES, "big"))


def main() -> None:
    """Serves on standard input. Ctrl-C is for the node, which then closes the door."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=0) as door:
        serve(door)
    sys.exit(0)
