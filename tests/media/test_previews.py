"""Previews: what is written for reviewers is small, private, made anew from plain pixels and samples, and shows the item."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import pytest
from PIL import Image

from omnitensor.media import Facts, Picture, Seen, look, save_previews
from omnitensor.media.previews import png, well_formed
from omnitensor.protocol import limits
from omnitensor.protocol.content import content_id_of
from omnitensor.sdk import DataItem
from omnitensor.sdk.previews import describe, preview_item
from omnitensor.sdk.results import ContentInfo
from tests.media.samples import moving, picture, sound_file, table, tone, video_file, wav
from tests.media.test_look import written


def saved(folder: Path, path: Path, declared: str = "") -> dict[str, Path]:
    files = save_previews(look(path, declared, previews=True), folder, "7-preview")
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    assert {file.parent for file in files} <= {folder}
    return {file.suffix: file for file in files}


def test_a_picture(tmp_path: Path) -> None:
    big = Image.linear_gradient("L").resize((1_600, 400)).convert("RGB")
    path = tmp_path / "big.jpg"
    big.save(path, "JPEG")
    files = saved(tmp_path, path)
    assert set(files) == {".png"}
    with Image.open(files[".png"]) as shown:
        assert shown.size == (512, 128)
        assert shown.convert("L").getextrema()[1] > 200
    with Image.open(saved(tmp_path, written(tmp_path, picture("PNG", (40, 30))))[".png"]) as shown:
        assert shown.size == (40, 30)
        assert shown.tobytes() == Image.open(tmp_path / "file").tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr"])
def test_pictures_of_every_mode(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "picture.tiff"
    made = Image.linear_gradient("L")
    (made.convert("I").convert(mode) if mode in ("I;16", "F") else made.convert(mode)).save(path)
    seen = look(path, previews=True)
    assert seen.facts.fault == ""
    assert seen.measures.flat is False
    with Image.open(saved(tmp_path, path)[".png"]) as shown:
        assert shown.size == (256, 256)


def test_a_sound(tmp_path: Path) -> None:
    def half(seconds: float) -> float:
        return tone(seconds) if seconds < 6 else 0.0

    files = saved(tmp_path, written(tmp_path, wav(half, seconds=12.0, rate=16_000, channels=2)))
    assert set(files) == {".png", ".wav"}
    with Image.open(files[".png"]) as shown:
        inked = [sum(value < 128 for value in shown.crop((x, 0, x + 1, 160)).tobytes()) for x in (100, 700)]
        assert inked[0] > 40
        assert inked[1] == 1
    with wave.open(str(files[".wav"])) as heard:
        assert (heard.getframerate(), heard.getnchannels(), heard.getsampwidth()) == (16_000, 1, 2)
        assert heard.getnframes() == 160_000


def test_a_video(tmp_path: Path) -> None:
    files = saved(tmp_path, video_file(tmp_path / "video", frames=50, sound=tone))
    assert set(files) == {".png", ".wav"}
    with Image.open(files[".png"]) as sheet:
        assert sheet.size == (4 * 64, 3 * 48)
        for place, frame in ((0, 0), (11, 45)):
            left, top = place % 4 * 64, place // 4 * 48
            pixel = sheet.convert("RGB").getpixel((left + 8, top + 8))
            assert isinstance(pixel, tuple)
            assert all(abs(have - want) < 40 for have, want in zip(pixel, moving(frame, 8, 8), strict=True))


def test_a_text(tmp_path: Path) -> None:
    text = "A line with \x1b[31mcolour\n\tand \u202ea reversed one.\n" + "more and more " * 2_000
    shown = saved(tmp_path, written(tmp_path, text))[".txt"].read_text()
    assert len(shown) == limits.preview_text_chars_max
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert shown.startswith("A line with \ufffd[31mcolour\n\tand ")


def test_a_table(tmp_path: Path) -> None:
    shown = saved(tmp_path, written(tmp_path, table(100)), "text/csv")[".txt"].read_text()
    assert "101 rows, 3 columns" in shown
    assert "whale 3" in shown
    assert "whale 40" not in shown
    assert "2  length: 100 of 100 filled, 7 different, numbers from 20 to 26" in shown
    assert "3  seen: 100 of 100 filled, 2 different, text of up to 3 characters" in shown


def test_a_table_wider_and_longer_than_anybody_reads(tmp_path: Path) -> None:
    row = ",".join(["a" * 500] * 2_000)
    shown = saved(tmp_path, written(tmp_path, f"{row}\n{row}\n"), "text/csv")[".txt"].read_text()
    assert len(shown) < 20_000
    assert "... and 1936 more" in shown


def test_what_does_not_decode_leaves_nothing(tmp_path: Path) -> None:
    assert saved(tmp_path, written(tmp_path, b"\x89PNG\r\n\x1a\n" + bytes(50))) == {}
    assert saved(tmp_path, written(tmp_path, b"PK\x03\x04" + bytes(50))) == {}


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    victim = written(tmp_path, "precious", "victim")
    for name in ("7-preview.txt", ".7-preview.txt.part"):
        os.symlink(victim, tmp_path / name)
    saved(tmp_path, written(tmp_path, "a text that is shown to whoever reviews it"))
    assert victim.read_text() == "precious"
    assert not (tmp_path / "7-preview.txt").is_symlink()


def test_pixels_that_are_not_there_are_no_picture() -> None:
    assert well_formed(Picture(2, 1, "RGB", bytes(6)))
    for wrong in (
        Picture(2, 1, "RGB", bytes(5)),
        Picture(0, 1, "RGB", b""),
        Picture(-2, -1, "L", bytes(2)),
        Picture(1, 1, "CMYK", bytes(4)),
        Picture(1 << 40, 1 << 40, "L", b""),
    ):
        assert not well_formed(wrong)
    with pytest.raises(AssertionError):
        png(Picture(2, 1, "RGB", bytes(5)))
    with pytest.raises(AssertionError):
        save_previews(Seen(Facts("text/plain", 1), text="x"), Path("."), "../up")


def test_an_item_is_described_and_shown(tmp_path: Path) -> None:
    path = sound_file(tmp_path / "12-abc", "mp3", "libmp3lame")
    found = content_id_of(path.read_bytes())
    content = ContentInfo(
        sha256=found.sha256.hex(), size=found.size, chunk_root=found.chunk_root.hex(), cid=found.cid
    )
    item = DataItem(0, 12, "audio/mpeg", content, "omnit1x", 0, "general", "", path)
    shown = preview_item(item, tmp_path)
    assert shown.summary.startswith("audio/mpeg, 1.")
    assert shown.summary.endswith("s, mp3, 1 channel at 48000 Hz")
    assert {file.name for file in shown.files} == {"12-preview.png", "12-preview.wav"}


def test_facts_in_words() -> None:
    video = Facts(
        "video/mp4",
        1,
        width=640,
        height=480,
        frames=300,
        duration_ms=12_000,
        frame_rate_mhz=29_970,
        codec="h264",
        audio_codec="aac",
        channels=2,
        sample_rate_hz=48_000,
    )
    assert describe(video) == (
        "video/mp4, 640 x 480, 300 frames, 29.97 frames a second, 12.0 s, h264, sound aac, 2 channels at 48000 Hz"
    )
    assert describe(Facts("image/png", 1, fault="cut off")) == "does not decode: cut off"
    assert describe(Facts("text/csv", 1, rows=3, columns=2)) == "text/csv, 3 rows, 2 columns"
