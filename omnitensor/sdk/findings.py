"""One thing that a check found in an item. Data only."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from omnitensor.protocol.reviews import SCORE_MAX


class Finding(msgspec.Struct, frozen=True):
    """One thing that a check found: the highest score it leaves each criterion, and why."""

    reason: str
    completeness: int = SCORE_MAX
    accuracy: int = SCORE_MAX
    relevance: int = SCORE_MAX
    flags: int = 0


def bounds(measures: Sequence[tuple[str, int, int, int]]) -> list[Finding]:
    """What is below or above what was asked for: name, value, least, most; 0 where nothing was asked."""
    findings = []
    for what, have, least, most in measures:
        if least and have < least:
            findings.append(Finding(f"{have} {what}, fewer than the {least} asked for", completeness=30))
        if most and have > most:
            findings.append(Finding(f"{have} {what}, more than the {most} asked for", completeness=50))
    return findings
