"""Hostile files: bombs, liars, polyglots, files cut off anywhere, and bytes by chance. Each costs a bounded amount, and says why.

What a child took is measured by the kernel and said by its keeper: its highest resident memory and its processor time.
"""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.media import Facts, agrees, inspect, look, room, sniff
from omnitensor.protocol import limits
from omnitensor.protocol.limits import MIB
from tests.media import samples
from tests.media.samples import picture, png_of, sound_file, table, tone, video_file, wav
from tests.media.test_look import written

QUIET_PEAK_KIB = 160 * 1_024
"""What a child may take at the most for a file that is refused by its headers; a fifth of that is Python itself."""


def costs(path: Path, declared: str = "") -> Facts:
    """Looks at a file in both ways; the child's memory and time stay within the limits. Gives the facts of decoding."""
    headers = inspect(path, declared)
    assert room.ROOM.ended is None or room.ROOM.ended.cpu_ms <= limits.media_facts_cpu_s_max * 1_000 + 1_500
    seen = look(path, declared, previews=True)
    if room.ROOM.ended is not None:
        assert room.ROOM.ended.peak_kib * 1_024 <= limits.media_child_memory_bytes_max
        assert room.ROOM.ended.cpu_ms <= limits.media_look_cpu_s_max * 1_000 + 1_500
    assert seen.facts.size == headers.size == path.stat().st_size
    assert seen.facts.media_type or seen.facts.fault
    assert "open files" not in headers.fault + seen.facts.fault, (
        "something was to be loaded in a confined child"
    )
    return seen.facts


def peak_kib() -> int:
    assert room.ROOM.ended is not None, "a child looked at it"
    return room.ROOM.ended.peak_kib


# -- bombs


@pytest.mark.parametrize("side", [6_000, 60_000, 2**31 - 1])
def test_png_of_pixels(tmp_path: Path, side: int) -> None:
    facts = costs(written(tmp_path, png_of(side, side)))
    assert facts.fault
    assert peak_kib() < QUIET_PEAK_KIB


def test_png_that_really_holds_what_it_promises(tmp_path: Path) -> None:
    """Sixty million pixels of nothing in fifty thousand bytes."""
    side = 7_800
    bomb = png_of(side, side, bytes((side + 1) * side))
    assert len(bomb) < 100_000
    facts = costs(written(tmp_path, bomb))
    assert "over 24000000 pixels" in facts.fault
    assert peak_kib() < QUIET_PEAK_KIB


def test_the_largest_picture_that_is_decoded_stays_within_the_memory(tmp_path: Path) -> None:
    side = 4_898
    facts = costs(written(tmp_path, png_of(side, side, bytes((side + 1) * side))))
    assert (facts.fault, facts.width) == ("", side)


def test_gif_of_a_huge_screen(tmp_path: Path) -> None:
    gif = bytearray(picture("GIF"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    facts = costs(written(tmp_path, bytes(gif)))
    assert "over 24000000 pixels" in facts.fault
    assert peak_kib() < QUIET_PEAK_KIB


def test_gif_of_very_many_frames(tmp_path: Path) -> None:
    """A frame of 4,000 x 4,000 costs an attacker twenty bytes."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 4_000, 4_000, 0x80, 0, 0) + bytes((0, 0, 0, 255, 255, 255))
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02D\x01\x00"
    facts = costs(written(tmp_path, screen + frame * 2_000 + b";"))
    assert facts.frames <= limits.image_frames_pixels_max // (4_000 * 4_000) + 1 or facts.fault


def test_tiff_and_webp_of_pixels(tmp_path: Path) -> None:
    tiff = bytearray(picture("TIFF"))
    entries = int.from_bytes(tiff[4:8], "little")
    for place in range(entries + 2, len(tiff) - 12, 12):
        if int.from_bytes(tiff[place : place + 2], "little") in (256, 257):
            tiff[place + 2 : place + 4] = struct.pack("<H", 4)
            tiff[place + 8 : place + 12] = struct.pack("<I", 100_000)
    assert "over 24000000 pixels" in costs(written(tmp_path, bytes(tiff))).fault
    assert peak_kib() < QUIET_PEAK_KIB
    frames = b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    extended = b"VP8X" + struct.pack("<II", 10, 0x02) + (16_383 - 1).to_bytes(3, "little") * 2
    body = b"WEBP" + extended + frames + b"ANMF" + struct.pack("<I", 16) + bytes(16)
    assert costs(written(tmp_path, b"RIFF" + struct.pack("<I", len(body)) + body)).fault


def zip_bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/worksheets/sheet1.xml", bytes(64 * MIB))
    return out.getvalue()


@pytest.mark.parametrize("layers", [1, 3])
def test_archives_are_told_and_never_unpacked(tmp_path: Path, layers: int) -> None:
    data = zip_bomb()
    for _ in range(layers - 1):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("more.zip", data)
        data = out.getvalue()
    path = written(tmp_path, data, "table.xlsx")
    sheet = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    for declared in (sheet, "text/csv", "image/png", ""):
        room.ROOM.ended = None
        facts = look(path, declared).facts
        assert (facts.media_type, facts.fault) == ("application/zip", "")
        assert not agrees(declared, facts)
        assert room.ROOM.ended is None, "no child was even started for it"


def test_gzip_of_nothing(tmp_path: Path) -> None:
    facts = look(written(tmp_path, gzip.compress(bytes(64 * MIB), 9), "words.txt"), "text/plain").facts
    assert facts.media_type == "application/gzip"
    assert not agrees("text/plain", facts)


# -- liars


def test_wav_that_lies_about_its_length(tmp_path: Path) -> None:
    good = wav(seconds=1.0)
    place = good.index(b"data") + 4
    for promised in (len(good), 2**31, 2**32 - 1):
        lie = good[:place] + struct.pack("<I", promised) + good[place + 4 :]
        assert "samples ends at byte" in costs(written(tmp_path, lie)).fault
    empty = good[:4] + struct.pack("<I", place - 4) + good[8:place] + bytes(4)
    assert "no samples" in costs(written(tmp_path, empty)).fault
    assert "file ends at byte" in costs(written(tmp_path, good[:4] + b"\xff\xff\xff\x7f" + good[8:])).fault


@pytest.mark.parametrize("rate", [1, 2**31 - 1])
@pytest.mark.parametrize("channels", [0, 255, 65_535])
def test_wav_of_impossible_rates(tmp_path: Path, channels: int, rate: int) -> None:
    lie = bytearray(wav())
    lie[22:28] = struct.pack("<HI", channels, rate)
    facts = costs(written(tmp_path, bytes(lie)))
    assert facts.fault or facts.channels <= limits.audio_channels_max


def patched(data: bytes, kind: bytes, change: Callable[[bytearray, int], None]) -> bytes:
    """The bytes with something changed in the box of a kind; the offset given is that of its contents."""
    found = bytearray(data)
    place = found.index(kind) + 4
    change(found, place)
    return bytes(found)


def test_video_that_claims_a_thousand_million_frames(tmp_path: Path) -> None:
    data = video_file(tmp_path / "video").read_bytes()

    def equal_sizes(found: bytearray, place: int) -> None:
        found[place + 4 : place + 12] = struct.pack(">II", 1, 10**9)

    def durations(found: bytearray, place: int) -> None:
        found[place + 8 : place + 16] = struct.pack(">II", 10**9, 512)

    for kind, change in ((b"stsz", equal_sizes), (b"stts", durations)):
        facts = costs(written(tmp_path, patched(data, kind, change)))
        assert facts.fault or facts.frames <= 25


def test_video_of_huge_frames(tmp_path: Path) -> None:
    def sample_entry(found: bytearray, place: int) -> None:
        found[place + 24 : place + 28] = struct.pack(">HH", 65_535, 65_535)

    data = patched(video_file(tmp_path / "v").read_bytes(), b"avc1" + bytes(6), lambda *_: None)
    found = bytearray(data)
    place = found.index(b"avc1" + bytes(6)) + 4
    sample_entry(found, place)
    facts = costs(written(tmp_path, bytes(found)))
    assert facts.fault or (facts.width, facts.height) == (64, 48), "what is decoded counts, or nothing is"
    avi = bytearray(video_file(tmp_path / "a", "avi", "mpeg4").read_bytes())
    place = avi.index(b"strf") + 8
    avi[place + 4 : place + 12] = struct.pack("<ii", 60_000, 60_000)
    facts = costs(written(tmp_path, bytes(avi)))
    assert facts.fault or (facts.width, facts.height) == (64, 48)


def test_video_that_promises_hours(tmp_path: Path) -> None:
    def duration(found: bytearray, place: int) -> None:
        found[place + 16 : place + 20] = struct.pack(">I", 10**9)

    lie = patched(video_file(tmp_path / "video").read_bytes(), b"mdhd", duration)
    facts = costs(written(tmp_path, lie))
    assert "cut off" in facts.fault or facts.duration_ms <= 1_100


def test_a_playlist_opens_nothing(tmp_path: Path) -> None:
    """What names other files is text here, and a container that refers to one finds the door shut."""
    secret = written(tmp_path, wav(), "secret.wav")
    for text in (f"#EXTM3U\n#EXTINF:1,\n{secret}\n", f"ffconcat version 1.0\nfile {secret}\n"):
        facts = costs(written(tmp_path, text, "list.mp4"))
        assert facts.media_type == "text/plain"
    data = bytearray(video_file(tmp_path / "video").read_bytes())
    place = data.index(b"url \x00\x00\x00\x01")
    data[place + 7] = 0  # the media are said to be in another file
    facts = costs(written(tmp_path, bytes(data)))
    assert facts.media_type in ("video/mp4", "audio/mp4")


# -- one file, two types


def test_polyglots_are_one_type_for_everybody(tmp_path: Path) -> None:
    archive = zip_bomb()
    for data, media_type in (
        (picture("PNG") + archive, "image/png"),
        (picture("GIF") + b"/*" + archive, "image/gif"),
        (picture("JPEG") + b"<script>alert(1)</script>", "image/jpeg"),
        (wav() + archive, "audio/wav"),
        (b"%PDF-1.4\n" + picture("JPEG"), "application/pdf"),
        (b"<html>" + b"x" * 100 + b"</html>\n", "text/plain"),
    ):
        path = written(tmp_path, data)
        found = {inspect(path).media_type, look(path).facts.media_type, sniff(data[:4_096])}
        assert found == {media_type}
        facts = costs(path)
        others = {"application/zip", "image/bmp", "audio/flac", "video/mp4", "text/csv"}
        assert (
            not any(agrees(other, facts) for other in others if other != media_type)
            or media_type == "text/plain"
        )


def test_svg_with_entities_is_text_that_nobody_expands(tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    svg = f'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY a0 "lol">{entities}]><svg>&a11;</svg>'
    for declared in ("image/svg+xml", "application/xml", "text/xml", ""):
        facts = costs(written(tmp_path, svg, "picture.svg"), declared)
        assert (facts.kind, facts.fault) == ("text", "")
        assert peak_kib() < QUIET_PEAK_KIB
    assert not agrees("image/svg+xml", facts)
    assert agrees("application/xml", facts)


# -- tables


def test_csv_of_one_line_without_end(tmp_path: Path) -> None:
    """Sparse on the disk: a thousand million characters; and just below what is read whole."""
    path = tmp_path / "line.csv"
    with path.open("wb") as file:
        for _ in range(1_000):
            file.write(b"a" * MIB)
    facts = costs(path, "text/csv")
    assert (facts.rows, facts.characters) == (0, 0), "beyond the limit a text is taken as it is"
    assert peak_kib() < QUIET_PEAK_KIB
    with path.open("r+b") as file:
        file.truncate(limits.media_text_bytes_max)
    assert "no table" in costs(path, "text/csv").fault
    assert peak_kib() < QUIET_PEAK_KIB


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('"' + "x" * (2 * MIB) + '"\n', id="one long cell"),
        pytest.param("," * 100_000 + "\n", id="many cells"),
        pytest.param(("," * 4_000 + "\n") * 500, id="many cells in rows"),
        pytest.param('"\n' * 200_000, id="quotes"),
        pytest.param("a,b\r" * 100_000, id="carriage returns"),
        pytest.param("\n" * 1_000_000, id="empty lines"),
        pytest.param("a\n" * 500_000, id="short lines"),
    ],
)
def test_csv_of_odd_shapes(tmp_path: Path, text: str) -> None:
    costs(written(tmp_path, text), "text/csv")
    assert peak_kib() < 3 * QUIET_PEAK_KIB


def test_parquet_bomb(tmp_path: Path) -> None:
    """Six hundred million bytes that compress to nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "bomb"
    column = pa.array([b"x" * 1_000_000] * 100)
    with pq.ParquetWriter(
        path, pa.schema([("x", pa.binary())]), compression="zstd", use_dictionary=False
    ) as writer:
        for _ in range(6):
            writer.write_table(pa.table({"x": column}))
    assert path.stat().st_size < 2 * MIB
    costs(path)


# -- cut off


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    made = {
        "mp4": video_file(folder / "mp4", sound=tone, frames=50),
        "webm": video_file(folder / "webm", "webm", "libvpx-vp9", frames=50),
        "mkv": video_file(folder / "mkv", "matroska", frames=50),
        "avi": video_file(folder / "avi", "avi", "mpeg4", frames=50),
        "flac": sound_file(folder / "flac", "flac", "flac", seconds=3),
        "ogg": sound_file(folder / "ogg", "ogg", "libopus", seconds=3),
        "m4a": sound_file(folder / "m4a", "ipod", "aac", seconds=3),
        "wav": written(folder, wav(seconds=3), "wav"),
        "png": written(folder, picture("PNG", (300, 200)), "png"),
        "jpeg": written(folder, picture("JPEG", (300, 200)), "jpeg"),
        "gif": written(folder, picture("GIF", (300, 200)), "gif"),
        "webp": written(folder, picture("WEBP", (300, 200)), "webp"),
        "tiff": written(folder, picture("TIFF", (300, 200)), "tiff"),
    }
    return {name: path.read_bytes() for name, path in made.items()}


NAMES = ["mp4", "webm", "mkv", "avi", "flac", "ogg", "m4a", "wav", "png", "jpeg", "gif", "webp", "tiff"]


@pytest.mark.parametrize("name", NAMES)
def test_cut_off_anywhere(tmp_path: Path, whole: dict[str, bytes], name: str) -> None:
    data = whole[name]
    assert look(written(tmp_path, data)).facts.fault == ""
    for share in (2, 10, 25, 50, 75, 90):
        facts = costs(written(tmp_path, data[: len(data) * share // 100]))
        assert facts.fault, f"{share} % of {name} is taken for whole"


def test_a_cut_off_mp3_is_never_longer_than_what_is_there(tmp_path: Path) -> None:
    data = sound_file(tmp_path / "mp3", "mp3", "libmp3lame", seconds=3).read_bytes()
    for share in (5, 50, 80):
        facts = costs(written(tmp_path, data[: len(data) * share // 100]))
        assert facts.fault or facts.duration_ms <= 3_000 * share // 100 + 200


# -- chance


@pytest.mark.parametrize("name", NAMES)
def test_bytes_changed_by_chance(tmp_path: Path, whole: dict[str, bytes], name: str) -> None:
    """Real files with bytes changed: found sound or at fault, in bounded time, and never without an answer."""
    import random

    chance = random.Random(name)
    for _ in range(8):
        data = bytearray(whole[name])
        for _ in range(chance.choice((1, 8, 64))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.3:
            place = chance.randrange(len(data))
            data[place : place + chance.randrange(200)] = chance.randbytes(chance.randrange(200))
        costs(written(tmp_path, bytes(data)))


HEADS = [
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0",
    b"GIF89a",
    b"II*\0\x08\0\0\0",
    b"RIFF\xff\0\0\0WEBPVP8X",
    b"RIFF\xff\0\0\0WAVEfmt ",
    b"RIFF\xff\0\0\0AVI LIST",
    b"BM" + bytes(12) + b"\x28\0\0\0",
    b"fLaC\0\0\0\x22",
    b"OggS\0\x02",
    b"ID3\x04\0\0",
    b"\xff\xfb\x90\x64",
    b"\0\0\0\x18ftypisom",
    b"\x1aE\xdf\xa3\x9f",
    b"PAR1",
    b"a,b\n",
]


@given(
    head=st.sampled_from(HEADS),
    body=st.binary(max_size=400),
    declared=st.sampled_from(["", "text/csv", "application/json"]),
)
@settings(max_examples=60, deadline=None)
def test_random_bytes(
    tmp_path_factory: pytest.TempPathFactory, head: bytes, body: bytes, declared: str
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "file"
    path.write_bytes(head + body)
    costs(path, declared)


@given(st.text(max_size=400))
@settings(max_examples=30, deadline=None)
def test_any_text_is_text(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("text") / "file"
    path.write_text(" " + text, encoding="utf-8", errors="ignore")
    facts = costs(path)
    assert facts.media_type == "text/plain" or facts.fault or "ftyp" in text


def test_every_sample_used_here_is_sound(tmp_path: Path) -> None:
    """Else the tests above would show nothing."""
    assert costs(written(tmp_path, table()), "text/csv").rows == 31
    assert costs(written(tmp_path, png_of(10, 10, bytes(11 * 10)))).fault == ""
    assert zlib.decompress(zlib.compress(b"x")) == b"x"
    assert samples.silence(1.0) == 0.0
