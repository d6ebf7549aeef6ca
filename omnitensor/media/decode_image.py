"""In the child: images by Pillow, with the one decoder that the first bytes name. Sizes are looked at before pixels are made."""

from __future__ import annotations

import importlib
import io
import struct
import warnings

from PIL import Image, UnidentifiedImageError

from omnitensor.media.facts import Facts, Job, Measures, Picture, Seen
from omnitensor.media.kinds import IMAGE_FORMATS
from omnitensor.protocol import limits

_COUNTED = ("image/png", "image/webp")
"""Formats that say in a header how many frames they have."""
_PARTS = (
    *(
        "PngImagePlugin",
        "JpegImagePlugin",
        "MpoImagePlugin",
        "GifImagePlugin",
        "WebPImagePlugin",
        "BmpImagePlugin",
    ),
    *("TiffImagePlugin", "ImageChops", "ImageOps", "ImageSequence", "ImageFile", "ImagePalette", "ExifTags"),
)
_FAULTS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    TypeError,
    IndexError,
    KeyError,
    OverflowError,
    struct.error,
)

for _part in _PARTS:
    importlib.import_module(f"PIL.{_part}")
Image.init()
warnings.simplefilter("ignore")  # Pillow warns of large images; our own bound decides


class _TooLarge(Exception):
    """A frame of more pixels than are decoded."""


def see(job: Job, source: io.BufferedReader) -> Seen:
    """Facts, and with ``whole`` whether all frames decode, up to a number of pixels."""
    facts = Facts(job.media_type, job.size)
    try:
        with Image.open(source, formats=[IMAGE_FORMATS[job.media_type]]) as image:
            facts = _facts(job, image)
            _check_size(image)
            return _whole(job, image, facts) if job.whole else Seen(facts)
    except _TooLarge as error:
        return Seen(_faulty(facts, str(error)))
    except Image.DecompressionBombError:
        return Seen(_faulty(facts, f"over {limits.image_pixels_max} pixels"))
    except UnidentifiedImageError:
        return Seen(_faulty(facts, "it begins like an image and is none"))
    except _FAULTS as error:
        return Seen(_faulty(facts, f"the image does not decode ({_plain(error)})"))


def _facts(job: Job, image: Image.Image) -> Facts:
    width, height = image.size
    frames = int(getattr(image, "n_frames", 1)) if job.media_type in _COUNTED else 0
    codec = image.format or ""
    return Facts(job.media_type, job.size, width=width, height=height, frames=frames, codec=codec.lower())


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > limits.image_pixels_max:
        raise _TooLarge(f"over {limits.image_pixels_max} pixels: {width} x {height}")


def _whole(job: Job, image: Image.Image, facts: Facts) -> Seen:
    image.load()
    flat, picture = _flat(image), None
    if job.pixels:
        picture = _pixels(image)
    elif job.previews:
        picture = _thumbnail(image)
    frames, complete = (1, True) if job.pixels else _all_frames(image)
    facts = Facts(
        facts.media_type, facts.size, width=facts.width, height=facts.height, frames=frames, codec=facts.codec
    )
    return Seen(facts, Measures(complete, flat=flat, frames_seen=frames), picture)


def _all_frames(image: Image.Image) -> tuple[int, bool]:
    """How many frames decode, and whether those are all. Raises what a broken one raises."""
    frames, left = 1, limits.image_frames_pixels_max
    while frames < limits.image_frames_max:
        try:
            image.seek(frames)
        except EOFError:
            return frames, True
        _check_size(image)
        left -= image.width * image.height
        if left < 0:
            return frames, False
        image.load()
        frames += 1
    return frames, False


def _flat(image: Image.Image) -> bool:
    if image.mode == "P":
        image = image.convert("RGBA")
    found = image.getextrema()
    bands = (found,) if isinstance(found[0], int | float) else found
    return all(low == high for low, high in bands)


def _pixels(image: Image.Image) -> Picture:
    mode = image.mode if image.mode in ("L", "RGB", "RGBA") else _nearest_mode(image)
    shown = image if image.mode == mode else image.convert(mode)
    return Picture(shown.width, shown.height, mode, shown.tobytes())


def _thumbnail(image: Image.Image) -> Picture:
    longer = max(image.size)
    side = min(longer, limits.preview_side_max)
    size = (max(1, image.width * side // longer), max(1, image.height * side // longer))
    small = image.resize(size, Image.Resampling.BOX) if size != image.size else image
    shown = small.convert(_nearest_mode(image))
    return Picture(shown.width, shown.height, shown.mode, shown.tobytes())


def _nearest_mode(image: Image.Image) -> str:
    if image.has_transparency_data:
        return "RGBA"
    return "L" if image.mode in ("1", "L", "I", "F", "I;16") else "RGB"


def _faulty(facts: Facts, fault: str) -> Facts:
    return Facts(facts.media_type, facts.size, fault=fault, width=facts.width, height=facts.height)


def _plain(error: Exception) -> str:
    """An error's text on one line, short: it may quote the file."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def _warm_up() -> None:
    """Looks at pictures of one's own in every format, whole and broken, in the keeper.

    Formats load parts of Python and of Pillow when they meet certain files. A confined child can't, so it finds them here.
    """
    frames = [Image.new(mode, (8, 8), 1) for mode in ("P", "P")]
    for media_type, form in IMAGE_FORMATS.items():
        for more in ([], frames[1:]) if form in ("GIF", "WEBP", "PNG", "TIFF") else ([],):
            out = io.BytesIO()
            still = frames[0] if form not in ("JPEG", "WEBP") else frames[0].convert("RGB")
            still.save(out, form, **({"save_all": True, "append_images": more} if more else {}))
            for data in (out.getvalue(), out.getvalue()[:-20], out.getvalue()[:16]):
                job = Job(media_type, "", "", len(data), True, True, False, 0, 0, 0, 0, 0)
                see(job, io.BufferedReader(io.BytesIO(data)))


_warm_up()
