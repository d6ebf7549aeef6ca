"""What a file is, judged from its bytes: the room of media with the errors of the SDK. Knows files; nothing of campaigns.

Decoding happens in a child process with limits (``omnitensor.media``); this process never decodes a stranger's file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from omnitensor import media
from omnitensor.media import Facts, Seen, agrees, possible_types, save_previews, type_matches
from omnitensor.sdk.errors import FileError

__all__ = [
    "Facts",
    "Seen",
    "agrees",
    "image_of",
    "look",
    "possible_types",
    "save_previews",
    "sniff",
    "type_matches",
]


def sniff(path: Path, declared: str = "") -> Facts:
    """Facts of a file after decoding it. Raises FileError where it can't be read."""
    return look(path, declared).facts


def look(path: Path, declared: str = "", *, previews: bool = False) -> Seen:
    """Facts and measures of a file, and with `previews` what to show of it. Raises FileError where it can't be read."""
    with _readable(path):
        return media.look(path, declared, previews=previews)


def image_of(path: Path) -> Image.Image:
    """The first frame of an image, its pixels decoded in a child process. Raises FileError where it is none."""
    with _readable(path):
        found = media.pixels(path)
    if isinstance(found, Facts):
        fault = found.fault or f"it is {found.media_type or 'of no known kind'}"
        raise FileError(f"no image that can be read ({fault})", value=path)
    return Image.frombytes(found.mode, (found.width, found.height), found.pixels)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileError(
            f"the file can't be read ({error.strerror})", value=path, remedy="check its name and permissions"
        ) from error
