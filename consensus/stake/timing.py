"""When the core wants to be woken, and how long a view may last. Integers in milliseconds; holds no clock."""

from enum import Enum
from typing import Final

TIMER_DELTAS: Final = 3
"""A view's timer in bounds on a message's delay: proposal, votes, certificate."""
GROWTH_UNITS: Final = 1_000
TIMER_GROWTH: Final = (1_000, 1_250, 1_562, 1_953, 2_441, 3_051, 3_814, 4_000)
"""R1: ``min(1.25**idle, 4)`` in thousandths, rounded down."""


def view_timeout_ms(delta_ms: int, idle: int) -> int:
    """How long a view lasts before its timer runs out (R1). ``idle``: views entered since the last finalization, 0 or more."""
    return TIMER_DELTAS * delta_ms * TIMER_GROWTH[min(idle, len(TIMER_GROWTH) - 1)] // GROWTH_UNITS


class Alarm(Enum):
    """What the core waits for."""

    VIEW = "the view's timer (R1, R4)"
    PACE = "the instant at which a leader may propose (R2)"
    DRIFT = "a block's timestamp being near enough (R3)"
    STANDSTILL = "time without a finalization (R8)"
    CERTIFICATES = "asking for certificates again"
    FETCH = "asking for candidates again"


class Alarms:
    """At most one instant for each thing waited for."""

    def __init__(self) -> None:
        self._at: dict[Alarm, int] = {}

    def set(self, alarm: Alarm, at_ms: int) -> None:
        self._at[alarm] = at_ms

    def clear(self, alarm: Alarm) -> None:
        self._at.pop(alarm, None)

    def at(self, alarm: Alarm) -> int | None:
        return self._at.get(alarm)

    def due(self, alarm: Alarm, now_ms: int) -> bool:
        """Whether the instant has come; then it is cleared."""
        at_ms = self._at.get(alarm)
        if at_ms is None or at_ms > now_ms:
            return False
        del self._at[alarm]
        return True

    def next(self) -> int | None:
        return min(self._at.values(), default=None)

    def shift(self, by_ms: int) -> None:
        """The clock was set back: move every instant with it, so that waits keep their length."""
        for alarm in self._at:
            self._at[alarm] += by_ms
