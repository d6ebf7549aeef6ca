"""What is known of a file: facts, measures, and plain pixels and samples for previews. Data only."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=0, le=2**53)]
Text = Annotated[str, Meta(max_length=600)]
"""What a child says is checked: it may be the file that speaks."""


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a file's bytes say. 0 or empty: unknown, or of another kind. Times in milliseconds, rates in thousandths of hertz.

    ``media_type`` is empty where the bytes are of no known kind; ``fault`` says why they do not decode; ``unread`` says what
    is missing on this machine to look into them.
    """

    media_type: Text
    size: Count
    fault: Text = ""
    unread: Text = ""
    characters: Count = 0
    lines: Count = 0
    words: Count = 0
    language: Text = ""
    """ISO 639-1 as guessed from the beginning; ``und`` where it can't be told."""
    width: Count = 0
    height: Count = 0
    frames: Count = 0
    """Pictures in the file, as its header has it for video; 0 where only decoding would tell."""
    duration_ms: Count = 0
    channels: Count = 0
    sample_rate_hz: Count = 0
    frame_rate_mhz: Count = 0
    """Pictures in a thousand seconds."""
    codec: Text = ""
    """Of the picture in a video, of the sound in audio."""
    audio_codec: Text = ""
    """Of the sound of a video."""
    rows: Count = 0
    columns: Count = 0

    @property
    def kind(self) -> str:
        """text, image, audio, video, or what the media type begins with."""
        return self.media_type.partition("/")[0]


class Measures(msgspec.Struct, frozen=True, omit_defaults=True):
    """What decoding showed. Shares in hundredths of a percent of what was decoded; None: not measured."""

    complete: bool = True
    """Whether all of the file was decoded; a long one is looked at in places."""
    flat: bool | None = None
    """Every pixel of the picture has one colour."""
    decoded_ms: int = 0
    silent_bps: int | None = None
    """Share of tenths of a second in which no channel moves by more than a thousandth of its range."""
    clipped_bps: int | None = None
    """Share of samples at the very end of the range."""
    frames_seen: int = 0
    black_bps: int | None = None
    """Share of the frames looked at that are nearly black throughout."""
    frozen_bps: int | None = None
    """Share of the steps from one frame looked at to the next in which nothing changes."""
    broken: int = 0
    """Parts in the middle that do not decode."""
    ragged_rows: int | None = None
    """Rows that have not as many cells as the first one."""
    empty_bps: int | None = None
    repeated_rows: int | None = None
    formula_cells: int | None = None
    """Cells that a spreadsheet would compute."""


class Picture(msgspec.Struct, frozen=True):
    """Plain pixels, row by row: ``mode`` L, RGB or RGBA, one byte a channel."""

    width: int
    height: int
    mode: str
    pixels: bytes


class Sound(msgspec.Struct, frozen=True):
    """Plain samples of one channel, signed 16 bits, little endian."""

    rate_hz: int
    samples: bytes


class Seen(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything that a look into a file gave. The previews are there only where they were asked for."""

    facts: Facts
    measures: Measures = Measures()
    picture: Picture | None = None
    """Thumbnail of an image, waveform of a sound, contact sheet of a video."""
    sound: Sound | None = None
    """The first seconds."""
    text: str = ""
    """The beginning of a text, the first rows and a summary of the columns of a table."""


class Job(msgspec.Struct, frozen=True):
    """What a child is to do with an open file."""

    media_type: str
    declared: str
    named: str
    """What the file's name says it is, where nothing was declared."""
    size: int
    whole: bool
    previews: bool
    pixels: bool
    cpu_s: int
    memory_bytes: int
    clock_ms: int
    """How long the child may live."""
    sound_ms: int
    """How much of a sound is decoded, and ..."""
    video_pixels: int
    """... how many pixels of a video, before it is looked at in places."""


class Ended(msgspec.Struct, frozen=True):
    """How a child ended: the status of wait, its highest resident memory in KiB, its processor time in milliseconds."""

    status: int
    peak_kib: int
    cpu_ms: int
