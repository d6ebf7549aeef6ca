"""How many messages of each kind a peer may send. Knows kinds, counts and the time it is told."""

from __future__ import annotations

from typing import Final

from omnitensor.protocol import limits

_DEFAULT: Final = limits.message_rates["*"]


class TokenBucket:
    """Allows `burst` at once and `per_second` in the long run. Integer arithmetic in thousandths."""

    __slots__ = ("_burst", "_filled_ms", "_milli", "_per_second")

    def __init__(self, per_second: int, burst: int, now_ms: int) -> None:
        self._per_second = per_second
        self._burst = burst * 1_000
        self._milli = self._burst
        self._filled_ms = now_ms

    def take(self, now_ms: int, count: int = 1) -> bool:
        """Takes `count`; False, taking nothing, when there are fewer. Time that goes back counts as standing still."""
        elapsed_ms = max(0, now_ms - self._filled_ms)
        self._milli = min(self._burst, self._milli + elapsed_ms * self._per_second)
        self._filled_ms += elapsed_ms
        if self._milli < count * 1_000:
            return False
        self._milli -= count * 1_000
        return True


class KindRates:
    """One peer's buckets, by kind of message (`limits.message_rates`; unnamed kinds have the rate of `*` each)."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._buckets: dict[str, TokenBucket] = {}
        self._ids = TokenBucket(*limits.message_ids_rate, now_ms)

    def allow(self, kind: str, now_ms: int, ids: int = 0) -> bool:
        """Whether one more message of a kind is within its rate, and the ids in it within theirs."""
        bucket = self._buckets.get(kind)
        if bucket is None:
            per_second, burst = limits.message_rates.get(kind, _DEFAULT)
            bucket = self._buckets[kind] = TokenBucket(per_second, burst, self._now_ms)
        return bucket.take(now_ms) and self._ids.take(now_ms, ids)
