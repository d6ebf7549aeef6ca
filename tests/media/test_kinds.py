"""Shows that media types come from the first bytes alone, the same for everybody, and what may be declared of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnitensor.media import sniff, type_matches
from tests.media.samples import wav


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (wav(), "audio/wav"),
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


@given(st.binary(max_size=200))
def test_any_bytes_have_a_type(head: bytes) -> None:
    assert "/" in sniff(head)


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs"]), min_size=1))
def test_any_text_without_magic_is_text(text: str) -> None:
    # A space first: no magic begins with one, and those further in hold control characters or follow RIFF or a length.
    assert sniff(b" " + text.encode()) == "text/plain" or "ftyp" in text


def test_patterns() -> None:
    assert type_matches("image/*", "image/png")
    assert type_matches("*/*", "text/plain")
    assert type_matches("Text/Plain", "text/plain")
    assert not type_matches("image/*", "text/plain")
    assert not type_matches("text/markdown", "text/plain")
