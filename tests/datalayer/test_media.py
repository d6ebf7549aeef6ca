"""Shows that media types and facts come from bytes alone, and that hostile bytes are refused without being unpacked."""

from __future__ import annotations

import io
import struct
import wave
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from datalayer.media import MediaError, agrees, inspect, sniff


def picture(form: str, size: tuple[int, int] = (40, 30)) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(out, form)
    return out.getvalue()


def sound() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(bytes(1_600))
    return out.getvalue()


def png(width: int, height: int) -> bytes:
    """A PNG by the standard (section 5), with as little data as an attacker would give it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(100)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("form", "media_type"),
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("GIF", "image/gif"),
        ("WEBP", "image/webp"),
        ("BMP", "image/bmp"),
        ("TIFF", "image/tiff"),
    ],
)
def test_images(tmp_path: Path, form: str, media_type: str) -> None:
    path = tmp_path / "misnamed.txt"
    path.write_bytes(picture(form))
    media = inspect(path, decode=True)
    assert (media.media_type, media.width, media.height) == (media_type, 40, 30)
    assert media.characters is None


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (sound(), "audio/wav"),
        (b"ID3\x04\0\0", "audio/mpeg"),
        (b"\xff\xfb\x90\x64" + bytes(20), "audio/mpeg"),
        (b"fLaC\0\0\0\x22", "audio/flac"),
        (b"OggS\0\x02", "audio/ogg"),
        (b"\0\0\0\x20ftypisom", "video/mp4"),
        (b"\0\0\0\x20ftypM4A ", "audio/mp4"),
        (b"\0\0\0\x20ftypavif", "image/avif"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm", "video/webm"),
        (b"RIFF\x10\0\0\0AVI LIST", "video/x-msvideo"),
        (b"junkjunkWAVE", "text/plain"),
        (b"%PDF-1.7", "application/pdf"),
        (b"PK\x03\x04", "application/zip"),
        (b"plain words", "text/plain"),
        ("Grüße, 世界".encode(), "text/plain"),
        (b"with\0nul", "application/octet-stream"),
        (b"\xff\xfeU\0T\0F\0", "application/octet-stream"),
        (b"\xc3", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_sniffs(head: bytes, media_type: str) -> None:
    assert sniff(head) == media_type


def test_text_facts(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("Grüße\nan 世界", encoding="utf-8")
    media = inspect(path)
    assert (media.media_type, media.characters, media.lines, media.size) == ("text/plain", 11, 2, 17)


def test_long_text_with_characters_across_parts(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_text("x" + "€" * 1_000_000 + "\n", encoding="utf-8")
    media = inspect(path)
    assert (media.characters, media.lines) == (1_000_002, 1)


@pytest.mark.parametrize("tail", [b"\0", b"\x01", b"\xff", "€".encode()[:2]])
def test_text_that_turns_out_not_to_be(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"words " * 2_000 + tail)
    with pytest.raises(MediaError):
        inspect(path)


def test_image_cut_off(tmp_path: Path) -> None:
    for form in ("PNG", "JPEG"):
        path = tmp_path / form
        whole = picture(form, (300, 300))
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(MediaError):
            inspect(path, decode=True)


def test_image_of_zeros_after_its_magic(tmp_path: Path) -> None:
    path = tmp_path / "fake"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(MediaError):
        inspect(path)


@pytest.mark.parametrize("side", [6_000, 60_000])
def test_bomb_is_not_unpacked(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(png(side, side))
    with pytest.raises(MediaError):
        inspect(path, decode=True)


@pytest.mark.parametrize(
    ("declared", "found", "agree"),
    [
        ("text/plain", "text/plain", True),
        ("text/markdown; charset=utf-8", "text/plain", True),
        ("application/json", "text/plain", True),
        ("image/png", "image/png", True),
        ("IMAGE/PNG", "image/png", True),
        ("image/png", "image/jpeg", False),
        ("image/png", "text/plain", False),
        ("text/plain", "image/png", False),
    ],
)
def test_agrees(declared: str, found: str, agree: bool) -> None:
    assert agrees(declared, found) is agree


@given(st.binary(max_size=200))
def test_any_bytes_have_a_type(head: bytes) -> None:
    assert "/" in sniff(head)


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
def test_any_text_without_magic_is_text(text: str) -> None:
    # A space first: no magic begins with one, and those further in hold control characters or follow RIFF or a length.
    assert sniff(b" " + text.encode()) == "text/plain" or "ftyp" in text
