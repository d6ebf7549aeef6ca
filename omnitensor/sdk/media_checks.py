"""What speaks against pictures, sounds, videos and tables by what decoding measured. Knows measures; reads no file.

The figures here are the ones that the validators' guide lists.
"""

from __future__ import annotations

from typing import Final

from omnitensor.media import Facts, Measures, Seen, kind_of
from omnitensor.protocol.types import BPS
from omnitensor.sdk.findings import Finding, bounds
from omnitensor.sdk.requirements import Requirements

ALL_BPS: Final = 9_900
"""This share of silence or black is all of it."""
MUCH_BPS: Final = 5_000
CLIPPED_BPS: Final = 500
SOUND_MS_SHORT: Final = 500
RAGGED_BPS: Final = 100
"""With more uneven rows than this share a table is not to be read."""
REPEATED_BPS: Final = 1_000


def check_media(seen: Seen, wanted: Requirements) -> list[Finding]:
    """Everything that speaks against an item that decodes; nothing for text, which is read elsewhere."""
    facts, measures = seen.facts, seen.measures
    if facts.unread:
        return [Finding(f"not looked into: {facts.unread}")]
    kind = kind_of(facts.media_type)
    if kind == "image":
        return _picture(facts, measures, wanted)
    if kind == "audio":
        return _whole(measures) + _sound(facts, measures) + _times(facts, wanted)
    if kind == "video":
        return _whole(measures) + _video(facts, measures, wanted) + _times(facts, wanted)
    return _table(facts, measures, wanted) if kind == "table" else []


def _picture(facts: Facts, measures: Measures, wanted: Requirements) -> list[Finding]:
    findings = _size(facts, wanted)
    if measures.flat:
        findings.append(Finding("the picture is one flat colour", 10, 20, 10))
    return findings


def _size(facts: Facts, wanted: Requirements) -> list[Finding]:
    return bounds(
        (
            ("pixels wide", facts.width, wanted.width_min, wanted.width_max),
            ("pixels high", facts.height, wanted.height_min, wanted.height_max),
        )
    )


def _times(facts: Facts, wanted: Requirements) -> list[Finding]:
    return bounds(
        (
            ("milliseconds", facts.duration_ms, wanted.duration_min * 1_000, wanted.duration_max * 1_000),
            ("samples a second", facts.sample_rate_hz, wanted.sample_rate_min, 0),
            ("channels", facts.channels, wanted.channels_min, 0),
        )
    )


def _whole(measures: Measures) -> list[Finding]:
    if not measures.broken:
        return []
    return [Finding(f"{measures.broken} parts of it do not decode", completeness=40, accuracy=50)]


def _sound(facts: Facts, measures: Measures) -> list[Finding]:
    findings, silent, clipped = [], measures.silent_bps or 0, measures.clipped_bps or 0
    if silent >= ALL_BPS:
        return [Finding("the sound is silent", 10, 20, 10)]
    if silent >= MUCH_BPS:
        findings.append(Finding(f"{silent // 100} % of the sound is silence", completeness=40))
    if clipped >= CLIPPED_BPS:
        findings.append(Finding(f"{clipped // 100} % of the samples are clipped", accuracy=50))
    if facts.duration_ms < SOUND_MS_SHORT:
        findings.append(Finding(f"only {facts.duration_ms} ms of sound", completeness=30))
    return findings


def _video(facts: Facts, measures: Measures, wanted: Requirements) -> list[Finding]:
    findings, black = _size(facts, wanted), measures.black_bps or 0
    rate = (("frames in 1000 seconds", facts.frame_rate_mhz, wanted.frame_rate_min * 1_000, 0),)
    findings += bounds(rate)
    if black >= ALL_BPS:
        findings.append(Finding("the video is black", 10, 20, 10))
    elif black >= MUCH_BPS:
        findings.append(Finding(f"{black // 100} % of the frames looked at are black", completeness=40))
    if measures.frozen_bps == BPS and black < ALL_BPS:
        findings.append(Finding("nothing moves in the video", 20, 30))
    if (measures.silent_bps or 0) >= ALL_BPS:
        findings.append(Finding("its sound is silent", completeness=70))
    return findings


def _table(facts: Facts, measures: Measures, wanted: Requirements) -> list[Finding]:
    findings = bounds(
        (
            ("rows", facts.rows, wanted.rows_min, wanted.rows_max),
            ("columns", facts.columns, wanted.columns_min, wanted.columns_max),
        )
    )
    rows = max(1, facts.rows)
    heading = 1 if measures.ragged_rows is not None else 0  # of text the first row counts as one
    if facts.rows <= heading:
        findings.append(Finding("the table has no rows beside its heading", 10, 30))
    if ragged := measures.ragged_rows:
        accuracy = 30 if ragged * BPS >= RAGGED_BPS * rows else 60
        reason = f"{ragged} of {rows} rows have not as many cells as the first"
        findings.append(Finding(reason, accuracy=accuracy))
    if (measures.empty_bps or 0) >= MUCH_BPS:
        findings.append(
            Finding(f"{(measures.empty_bps or 0) // 100} % of the cells are empty", completeness=30)
        )
    if (measures.repeated_rows or 0) * BPS >= REPEATED_BPS * rows:
        reason = f"{measures.repeated_rows} of {rows} rows repeat an earlier one"
        findings.append(Finding(reason, completeness=40))
    if measures.formula_cells:
        reason = f"{measures.formula_cells} cells would be computed by a spreadsheet: open it as text alone"
        findings.append(Finding(reason))
    return findings
