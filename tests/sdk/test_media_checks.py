"""The built-in checks on real sounds, videos and tables: what they find, what it costs, and what a campaign can ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnitensor.media import Facts, Measures, Seen
from omnitensor.sdk.checks import SOUND
from omnitensor.sdk.media_checks import check_media
from omnitensor.sdk.requirements import Requirements, requirements_in
from tests.media.samples import black, silence, sound_file, still, table, tone, video_file, wav
from tests.sdk.test_sdk_checks import worst, written

CSV = "text/csv"


def test_good_ones_are_sound(tmp_path: Path) -> None:
    assert worst(written(tmp_path, wav()), "audio/wav")[0] == SOUND
    assert worst(sound_file(tmp_path / "a", "ogg", "libopus"), "audio/ogg")[0] == SOUND
    assert worst(video_file(tmp_path / "b", sound=tone), "video/mp4")[0] == SOUND
    assert worst(video_file(tmp_path / "c", "webm", "libvpx-vp9"), "video/webm")[0] == SOUND
    assert worst(written(tmp_path, table()), CSV)[0] == SOUND


def test_bad_sounds(tmp_path: Path) -> None:
    def half(seconds: float) -> float:
        return tone(seconds) if seconds < 0.8 else 0.0

    def loud(seconds: float) -> float:
        return max(-1.0, min(1.0, tone(seconds) * 9))

    assert worst(written(tmp_path, wav(silence)), "audio/wav") == (10, "the sound is silent")
    score, said = worst(written(tmp_path, wav(half, seconds=2.0)), "audio/wav")
    assert score == 40
    assert said.endswith("% of the sound is silence")
    score, said = worst(written(tmp_path, wav(loud)), "audio/wav")
    assert score == 50
    assert "clipped" in said
    assert worst(written(tmp_path, wav(seconds=0.2)), "audio/wav") == (30, "only 200 ms of sound")
    cut = wav(seconds=3.0)[:20_000]
    score, said = worst(written(tmp_path, cut), "audio/wav")
    assert score == 0
    assert "cut off" in said


def test_bad_videos(tmp_path: Path) -> None:
    assert worst(video_file(tmp_path / "a", paint=black), "video/mp4") == (10, "the video is black")
    assert worst(video_file(tmp_path / "b", paint=still), "video/mp4") == (20, "nothing moves in the video")
    mute = video_file(tmp_path / "c", sound=silence)
    assert worst(mute, "video/mp4") == (70, "its sound is silent")
    whole = video_file(tmp_path / "d", "matroska", frames=50).read_bytes()
    score, said = worst(written(tmp_path, whole[: len(whole) // 2], "cut"), "video/x-matroska")
    assert score == 0
    assert "cut off" in said


def test_a_sound_is_no_video_and_a_video_no_sound(tmp_path: Path) -> None:
    sound, video = sound_file(tmp_path / "a", "mp4", "aac"), video_file(tmp_path / "b")
    assert "its bytes are audio/mp4" in worst(sound, "video/mp4")[1]
    assert "its bytes are video/mp4" in worst(video, "audio/mp4")[1]


@pytest.mark.parametrize(
    ("text", "score", "reason"),
    [
        ("name,length\n", 10, "no rows beside its heading"),
        ("a,b\n" + "1,2\n3,4\n5\n" * 3, 30, "3 of 10 rows have not as many cells"),
        ("a,b\n" + "".join(f"{n},x\n" for n in range(300)) + "5\n", 60, "1 of 302 rows have not"),
        ("a,b,c\n" + "".join(f"{n},,\n" for n in range(20)), 30, "63 % of the cells are empty"),
        ("a,b\n" + "1,2\n" * 20, 40, "19 of 21 rows repeat an earlier one"),
        ('a,b\n"1,2\n', 0, "declared as text/csv, and no table"),
        ("a,b\n1,=1+1\n2,3\n", SOUND, "1 cells would be computed by a spreadsheet"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, score: int, reason: str) -> None:
    have, said = worst(written(tmp_path, text), CSV)
    assert have == score
    assert reason in said


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("min duration: 5", "1000 milliseconds, fewer than the 5000 asked for"),
        ("max duration: 0", ""),
        ("min sample rate: 16000", "8000 samples a second, fewer than the 16000 asked for"),
        ("min channels: 2", "1 channels, fewer than the 2 asked for"),
    ],
)
def test_what_a_campaign_asks_of_a_sound(tmp_path: Path, asked: str, reason: str) -> None:
    assert reason in worst(written(tmp_path, wav()), "audio/wav", asked)[1]


def test_what_a_campaign_asks_of_videos_and_tables(tmp_path: Path) -> None:
    video = video_file(tmp_path / "video", frames=10, rate=10)
    assert (
        "10000 frames in 1000 seconds, fewer than the 24000"
        in worst(video, "video/mp4", "min frame rate: 24")[1]
    )
    assert "64 pixels wide, fewer than the 640" in worst(video, "video/mp4", "min width: 640")[1]
    rows = written(tmp_path, table(10))
    assert "11 rows, fewer than the 100" in worst(rows, CSV, "min rows: 100")[1]
    assert "3 columns, more than the 2" in worst(rows, CSV, "max columns: 2")[1]
    wanted = requirements_in("min duration: 2\nmin columns: 4\nmax rows: 9")
    assert (wanted.duration_min, wanted.columns_min, wanted.rows_max) == (2, 4, 9)


def test_without_a_decoder_the_reasons_say_so() -> None:
    seen = Seen(Facts("video/mp4", 10, unread="audio and video are not looked into here"), Measures())
    (finding,) = check_media(seen, Requirements())
    assert "not looked into" in finding.reason
    assert (finding.completeness, finding.accuracy, finding.relevance) == (100, 100, 100)


def test_parts_that_do_not_decode_speak_against_a_sound() -> None:
    (finding,) = check_media(
        Seen(Facts("audio/flac", 10, duration_ms=5_000), Measures(broken=3)), Requirements()
    )
    assert (finding.completeness, finding.accuracy) == (40, 50)
    assert "3 parts" in finding.reason
