"""Several things that are wrong with what somebody wrote, each with its place and what to do about it. Data only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from omnitensor.sdk.errors import InputError


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong: where, what, with which value, and what to do about it."""

    where: str
    reason: str
    value: str
    remedy: str


class FaultsError(InputError):
    """One fault or more; `faults` has them all, and the error's own parts are the first's."""

    code = "faults"

    def __init__(self, faults: Sequence[Fault]) -> None:
        first = faults[0]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(f"{first.where}: {first.reason}{more}", value=first.value, remedy=first.remedy)
        self.faults: Final = tuple(faults)


def shown(value: object) -> str:
    """A value for a fault's line."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # a number too long to write, or nested too deeply
        text = f"a {type(value).__name__} that is too large to show"
    return text if len(text) <= 60 else f"{text[:57]}..."
