"""In the child: plain pictures for previews, made of bytes: the waveform of a sound, the contact sheet of a video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from omnitensor.media.facts import Picture

WAVE_WIDTH: Final = 800
WAVE_HEIGHT: Final = 160
PAPER: Final = 255
INK: Final = 40
SHEET_COLUMNS: Final = 4
SHEET_ROWS: Final = 3
SHEET_SIDE: Final = 200
"""Pixels, of the longer side of one frame on a sheet."""


def waveform(lows: Sequence[int], highs: Sequence[int]) -> Picture:
    """Lowest and highest samples (16 bits) of equal stretches of time, from left to right."""
    pixels = bytearray([PAPER]) * (WAVE_WIDTH * WAVE_HEIGHT)
    for x in range(WAVE_WIDTH):
        start = x * len(lows) // WAVE_WIDTH
        end = max(start + 1, (x + 1) * len(lows) // WAVE_WIDTH)
        top, bottom = _row(max(highs[start:end])), _row(min(lows[start:end]))
        for y in range(top, bottom + 1):
            pixels[y * WAVE_WIDTH + x] = INK
    return Picture(WAVE_WIDTH, WAVE_HEIGHT, "L", bytes(pixels))


def _row(sample: int) -> int:
    return min(WAVE_HEIGHT - 1, max(0, (32_767 - sample) * WAVE_HEIGHT // 65_536))


def cell_size(width: int, height: int) -> tuple[int, int]:
    """Size of one frame on a sheet: its proportions kept, no side over ``SHEET_SIDE``, both even."""
    longer = max(width, height)
    side = min(SHEET_SIDE, longer + longer % 2)
    return max(2, width * side // longer // 2 * 2), max(2, height * side // longer // 2 * 2)


def contact_sheet(frames: Sequence[bytes], width: int, height: int) -> Picture:
    """Up to twelve frames of RGB pixels of one size, in the order of time, four in a row."""
    columns = min(SHEET_COLUMNS, len(frames))
    rows = -(-len(frames) // columns)
    line = columns * width * 3
    sheet = bytearray([PAPER]) * (line * height * rows)
    for place, frame in enumerate(frames):
        left, top = place % columns * width * 3, place // columns * height
        for y in range(height):
            at = (top + y) * line + left
            sheet[at : at + width * 3] = frame[y * width * 3 : (y + 1) * width * 3]
    return Picture(columns * width, rows * height, "RGB", bytes(sheet))
