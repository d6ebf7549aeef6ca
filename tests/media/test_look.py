"""Real files of every kind that is opened: type, facts and measures come from their bytes, whatever their name says."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnitensor.media import Facts, agrees, inspect, look
from omnitensor.protocol import limits
from tests.media import samples
from tests.media.samples import (
    black,
    moving,
    picture,
    silence,
    sound_file,
    still,
    table,
    tone,
    video_file,
    wav,
)


def written(folder: Path, content: bytes | str, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# -- sound

SOUNDS = [
    ("mp3", "libmp3lame", "audio/mpeg", "mp3"),
    ("flac", "flac", "audio/flac", "flac"),
    ("ogg", "libopus", "audio/ogg", "opus"),
    ("ipod", "aac", "audio/mp4", "aac"),
    ("mp4", "aac", "audio/mp4", "aac"),
    ("webm", "libopus", "audio/webm", "opus"),
    ("wav", "pcm_s24le", "audio/wav", "pcm_s24le"),
]


@pytest.mark.parametrize(("form", "codec", "media_type", "named"), SOUNDS)
def test_sounds(tmp_path: Path, form: str, codec: str, media_type: str, named: str) -> None:
    seen = look(sound_file(tmp_path / "misnamed.txt", form, codec))
    facts, measures = seen.facts, seen.measures
    assert (facts.media_type, facts.codec, facts.fault) == (media_type, named, "")
    assert (facts.channels, facts.sample_rate_hz) == (1, 48_000)
    assert 950 <= facts.duration_ms <= 1_150
    assert (measures.complete, measures.silent_bps, measures.clipped_bps, measures.broken) == (True, 0, 0, 0)


def test_facts_of_a_sound_without_decoding_it(tmp_path: Path) -> None:
    path = written(tmp_path, wav(seconds=2.5, rate=8_000, channels=2))
    assert inspect(path) == Facts(
        "audio/wav",
        path.stat().st_size,
        duration_ms=2_500,
        channels=2,
        sample_rate_hz=8_000,
        codec="pcm_s16le",
    )


def test_silence_and_clipping_are_measured(tmp_path: Path) -> None:
    def half(seconds: float) -> float:
        return tone(seconds) if seconds < 1 else 0.0

    def loud(seconds: float) -> float:
        return max(-1.0, min(1.0, tone(seconds) * 10))

    def offset(seconds: float) -> float:
        return 0.5  # a plain voltage is silence too

    shares = {}
    for name, sound in (("half", half), ("loud", loud), ("silent", silence), ("offset", offset)):
        measures = look(written(tmp_path, wav(sound, seconds=2.0, rate=16_000), name)).measures
        assert measures.silent_bps is not None
        assert measures.clipped_bps is not None
        shares[name] = (measures.silent_bps, measures.clipped_bps)
    assert 4_500 <= shares["half"][0] <= 5_500
    assert shares["loud"][0] == 0
    assert shares["loud"][1] > 5_000
    assert shares["silent"] == shares["offset"] == (10_000, 0)


# -- video

VIDEOS = [
    ("mp4", "libx264", "video/mp4", "h264", "aac", "aac"),
    ("mov", "libx264", "video/quicktime", "h264", "aac", "aac"),
    ("matroska", "libx265", "video/x-matroska", "hevc", "libopus", "opus"),
    ("webm", "libvpx-vp9", "video/webm", "vp9", "libopus", "opus"),
    ("avi", "mpeg4", "video/x-msvideo", "mpeg4", "libmp3lame", "mp3"),
]


@pytest.mark.parametrize(("form", "codec", "media_type", "named", "sound_codec", "sound_named"), VIDEOS)
def test_videos(
    tmp_path: Path, form: str, codec: str, media_type: str, named: str, sound_codec: str, sound_named: str
) -> None:
    path = video_file(tmp_path / "video", form, codec, sound=tone, sound_codec=sound_codec)
    seen = look(path)
    facts, measures = seen.facts, seen.measures
    assert (facts.media_type, facts.codec, facts.audio_codec, facts.fault) == (
        media_type,
        named,
        sound_named,
        "",
    )
    assert (facts.width, facts.height, facts.frames, facts.frame_rate_mhz) == (64, 48, 25, 25_000)
    assert (facts.channels, facts.sample_rate_hz) == (1, 48_000)
    assert 1_000 <= facts.duration_ms <= 1_200
    assert (measures.complete, measures.broken, measures.black_bps, measures.frozen_bps) == (True, 0, 0, 0)
    assert measures.silent_bps == 0
    headers = inspect(path)
    assert (headers.media_type, headers.width, headers.codec) == (media_type, 64, named)


def test_a_video_without_sound(tmp_path: Path) -> None:
    seen = look(video_file(tmp_path / "video"))
    assert (seen.facts.channels, seen.facts.audio_codec, seen.measures.silent_bps) == (0, "", None)
    assert seen.facts.duration_ms == 1_000


def test_black_and_frozen_videos_are_measured(tmp_path: Path) -> None:
    def half(frame: int, x: int, y: int) -> tuple[int, int, int]:
        return moving(frame, x, y) if frame < 12 else (0, 0, 0)

    shares = {}
    for paint in (black, still, half):
        measures = look(video_file(tmp_path / paint.__name__, paint=paint)).measures
        shares[paint.__name__] = (measures.black_bps, measures.frozen_bps)
    assert shares["black"] == (10_000, 10_000)
    assert shares["still"] == (0, 10_000)
    assert 4_500 <= (shares["half"][0] or 0) <= 5_500


def test_a_long_video_is_looked_at_in_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = video_file(tmp_path / "video", "matroska", frames=300, size=(32, 16))
    whole = look(path)
    assert (whole.measures.complete, whole.facts.frames) == (True, 300)
    monkeypatch.setattr(limits, "video_decoded_pixels_max", 250 * 32 * 16)
    parts = look(path)
    assert (parts.facts.fault, parts.measures.complete, parts.measures.broken) == ("", False, 0)
    assert parts.measures.frames_seen == limits.video_places_max
    assert parts.facts.duration_ms == 12_000
    frozen = look(video_file(tmp_path / "still", "matroska", frames=300, size=(32, 16), paint=still)).measures
    assert (frozen.complete, frozen.frozen_bps) == (False, 10_000)


def test_a_long_sound_is_looked_at_at_both_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sound_file(tmp_path / "sound", "flac", "flac", seconds=8, rate=16_000)
    monkeypatch.setattr(limits, "audio_decoded_ms_max", 2_000)
    seen = look(path)
    assert (seen.facts.fault, seen.facts.duration_ms, seen.measures.complete) == ("", 8_000, False)
    cut = written(tmp_path, path.read_bytes()[: path.stat().st_size // 2], "cut")
    assert "cut off" in look(cut).facts.fault


# -- pictures


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_pictures(tmp_path: Path, form: str) -> None:
    seen = look(written(tmp_path, picture(form), "misnamed.wav"))
    assert (seen.facts.media_type, seen.facts.width, seen.facts.height) == (f"image/{form.lower()}", 40, 30)
    assert (seen.facts.frames, seen.measures.flat, seen.facts.fault) == (1, False, "")


def test_an_animation_is_decoded_to_its_end(tmp_path: Path) -> None:
    from PIL import Image

    frames = [Image.new("RGB", (20, 10), (shade * 20, 0, 0)) for shade in range(10)]
    for form in ("GIF", "WEBP", "PNG", "TIFF"):
        path = tmp_path / form
        frames[0].save(path, form, save_all=True, append_images=frames[1:], duration=40)
        assert look(path).facts.frames == 10
    cut = written(tmp_path, (tmp_path / "GIF").read_bytes()[:-60], "cut")
    assert look(cut).facts.fault or look(cut).facts.frames < 10


# -- text and tables


def test_text(tmp_path: Path) -> None:
    text = "The whale is the largest animal that has ever lived on this planet, and it is in the sea.\nGrüße"
    facts = look(written(tmp_path, text)).facts
    assert facts == Facts(
        "text/plain", len(text.encode()), characters=len(text), lines=2, words=20, language="en"
    )
    assert inspect(written(tmp_path, text)) == facts


def test_words_are_counted_across_parts(tmp_path: Path) -> None:
    facts = look(written(tmp_path, "grüße " * 400_000 + "x" * 3_000_000 + "\n")).facts
    assert (facts.words, facts.lines, facts.characters) == (400_001, 1, 5_400_001)


@pytest.mark.parametrize("declared", ["text/csv", ""])
def test_a_table_of_text(tmp_path: Path, declared: str) -> None:
    seen = look(written(tmp_path, table(), "table.csv" if not declared else "table"), declared)
    assert (seen.facts.media_type, seen.facts.rows, seen.facts.columns) == ("text/csv", 31, 3)
    measures = seen.measures
    assert (measures.ragged_rows, measures.empty_bps, measures.repeated_rows, measures.formula_cells) == (
        0,
        0,
        0,
        0,
    )


def test_what_is_wrong_with_a_table_is_measured(tmp_path: Path) -> None:
    text = 'a;b;c\n1;2;3\n1;2;3\n;;\n4;5\n=HYPERLINK("x");-5;@SUM(A1)\n"=1+1";+3,5;-\n'
    measures = look(written(tmp_path, text), "text/csv").measures
    assert (measures.ragged_rows, measures.repeated_rows, measures.formula_cells) == (1, 1, 3)
    assert measures.empty_bps == 4 * 10_000 // 21


def test_tabs_marks_and_quotes(tmp_path: Path) -> None:
    path = written(tmp_path, '\ufeff"a\tb"\t"two\nlines"\n1\t2\n', "t.tsv")
    facts = look(path).facts
    assert (facts.media_type, facts.rows, facts.columns) == ("text/tab-separated-values", 2, 2)


def test_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "table"
    pq.write_table(pa.table({"name": [f"w{n}" for n in range(5_000)], "x": [None, 1.5] * 2_500}), path)
    seen = look(path, previews=True)
    assert (seen.facts.media_type, seen.facts.rows, seen.facts.columns, seen.facts.fault) == (
        "application/vnd.apache.parquet",
        5_000,
        2,
        "",
    )
    assert seen.measures.empty_bps == 2_500
    assert "w0" in seen.text
    assert inspect(path).rows == 5_000
    for cut in (100, path.stat().st_size // 2, path.stat().st_size - 1):
        assert "does not decode" in look(written(tmp_path, path.read_bytes()[:cut], "cut")).facts.fault


def test_json_is_json_only_where_it_is(tmp_path: Path) -> None:
    sound = look(written(tmp_path, '{"a": [1, 2]}', "x.json")).facts
    assert (sound.media_type, agrees("application/json", sound)) == ("application/json", True)
    assert look(written(tmp_path, "{a: 1}", "x.json")).facts.media_type == "text/plain"
    broken = look(written(tmp_path, "{a: 1}"), "application/json").facts
    assert "declared as application/json" in broken.fault
    deep = look(written(tmp_path, "[" * 1_000_000), "application/json").facts
    assert "nested too deeply" in deep.fault


# -- declared and found

DECLARED = [
    ("text/plain", "text/plain", True),
    ("text/markdown; charset=utf-8", "text/plain", True),
    ("application/json", "text/plain", True),
    ("text/plain", "application/json", True),
    ("text/plain", "text/csv", True),
    ("image/png", "image/png", True),
    ("IMAGE/PNG", "image/png", True),
    ("image/jpg", "image/jpeg", True),
    ("audio/x-wav", "audio/wav", True),
    ("video/mp4", "video/quicktime", True),
    ("video/mp4", "audio/mp4", False),
    ("audio/ogg", "video/ogg", False),
    ("image/svg+xml", "text/plain", False),
    ("image/png", "image/jpeg", False),
    ("image/png", "text/plain", False),
    ("text/plain", "image/png", False),
    ("text/csv", "application/vnd.apache.parquet", False),
]


@pytest.mark.parametrize(("declared", "found", "agree"), DECLARED)
def test_agrees(declared: str, found: str, agree: bool) -> None:
    assert agrees(declared, Facts(found, 10)) is agree
    assert not agrees(declared, Facts(found, 10, fault="cut off"))


def test_a_cover_picture_makes_no_video(tmp_path: Path) -> None:
    """A song with a picture in it stays a song."""
    import av

    path = tmp_path / "song"
    with av.open(str(path), "w", format="mp3") as container:
        heard = container.add_stream("libmp3lame", rate=48_000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 16, 16, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame(16, 16, "yuvj420p")
        frame.pts = 0
        container.mux(cover.encode(frame))
        container.mux(cover.encode(None))
        samples._add_sound(container, heard, tone, 1.0, 48_000)
    facts = look(path).facts
    assert (facts.media_type, facts.codec, facts.width, facts.fault) == ("audio/mpeg", "mp3", 0, "")
