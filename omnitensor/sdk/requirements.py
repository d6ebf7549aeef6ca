"""What a campaign's instructions ask for in words that a machine can check. Knows text; judges nothing.

A sponsor writes them as lines of their own among the prose, for instance ``language: en`` or ``min width: 64``.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

_LINE: Final = re.compile(
    r"^[\s>*•-]*(?P<name>[A-Za-z][A-Za-z ]{2,20}?)\s*[:=]\s*(?P<value>\S.*?)\s*$", re.MULTILINE
)
_NUMBERS: Final = {
    "min characters": "characters_min",
    "max characters": "characters_max",
    "min words": "words_min",
    "max words": "words_max",
    "min width": "width_min",
    "max width": "width_max",
    "min height": "height_min",
    "max height": "height_max",
    "min duration": "duration_min",
    "max duration": "duration_max",
    "min sample rate": "sample_rate_min",
    "min channels": "channels_min",
    "min frame rate": "frame_rate_min",
    "min rows": "rows_min",
    "max rows": "rows_max",
    "min columns": "columns_min",
    "max columns": "columns_max",
}
keywords_max: Final = 64


class Requirements(msgspec.Struct, frozen=True):
    """Bounds that items must keep; 0, empty or None where none was asked."""

    language: str = ""
    keywords: tuple[str, ...] = ()
    """At least one of them, where there are any."""
    characters_min: int = 0
    characters_max: int = 0
    words_min: int = 0
    words_max: int = 0
    width_min: int = 0
    width_max: int = 0
    height_min: int = 0
    height_max: int = 0
    duration_min: int = 0
    """Seconds, of sound and video."""
    duration_max: int = 0
    sample_rate_min: int = 0
    """Samples a second."""
    channels_min: int = 0
    frame_rate_min: int = 0
    """Frames a second."""
    rows_min: int = 0
    rows_max: int = 0
    columns_min: int = 0
    columns_max: int = 0


def requirements_in(instructions: str) -> Requirements:
    """The requirements in a text; lines that are none are prose and passed over."""
    found: dict[str, object] = {}
    for line in _LINE.finditer(instructions):
        name, value = " ".join(line["name"].lower().split()), line["value"]
        if name in _NUMBERS:
            digits = re.match(r"[0-9][0-9_,]{0,12}", value)
            if digits:
                found[_NUMBERS[name]] = int(re.sub("[_,]", "", digits[0]))
        elif name == "language" and re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]+)*", value):
            found["language"] = value.lower().partition("-")[0]
        elif name == "keywords":
            words = [word.strip().lower() for word in value.split(",")]
            found["keywords"] = tuple(word for word in words if word)[:keywords_max]
    return msgspec.convert(found, Requirements)
