"""Checks the signatures of transactions: each once, and a block's in threads.

Knows no state; who may sign for whom is the ledger's to say.

libsodium works outside the interpreter's lock, so two threads check on two cores while nothing else holds it.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from nacl.bindings import crypto_sign_open
from nacl.exceptions import CryptoError

from omnitensor.protocol.errors import SignatureError
from omnitensor.protocol.limits import signatures_cached_max
from state.ledger.prepared import Prepared

THREADS: Final = 2
INLINE_MAX: Final = 8
"""Fewer signatures than this are checked at once: waking a thread costs as much as one of them."""


class SignatureChecker:
    """Remembers which signatures were good, by id of the transaction and signature. Mempool and chain may share one."""

    def __init__(self, threads: int = THREADS) -> None:
        self._threads: Final = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="signatures") if threads > 1 else None
        self._good: dict[bytes, None] = {}

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

    def first_bad(self, transactions: Sequence[Prepared]) -> int | None:
        """Index of a transaction with a bad signature, or None. Good ones are not remembered: a block comes once."""
        good = self._good
        unknown = (
            [i for i, prepared in enumerate(transactions) if _key(prepared) not in good]
            if good
            else list(range(len(transactions)))
        )
        if self._pool is None or len(unknown) < INLINE_MAX:
            return _first_bad(transactions, unknown)
        share = -(-len(unknown) // self._threads)
        parts = [unknown[start : start + share] for start in range(0, len(unknown), share)]
        found = [
            bad for bad in self._pool.map(_first_bad, [transactions] * len(parts), parts) if bad is not None
        ]
        return min(found, default=None)

    def forget(self, transactions: Sequence[Prepared]) -> None:
        """Forgets those of a block that is final: they can't come again."""
        if self._good:
            for prepared in transactions:
                self._good.pop(_key(prepared), None)

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def _key(prepared: Prepared) -> bytes:
    # The id covers everything but the signature, the signer included.
    return prepared.id + prepared.transaction.signature


def _is_good(prepared: Prepared) -> bool:
    transaction = prepared.transaction
    try:
        crypto_sign_open(transaction.signature + prepared.id, transaction.signer)
    except CryptoError:
        return False
    return True


def _first_bad(transactions: Sequence[Prepared], indexes: Sequence[int]) -> int | None:
    for index in indexes:
        if not _is_good(transactions[index]):
            return index
    return None
