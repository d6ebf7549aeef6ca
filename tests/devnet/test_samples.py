"""The devnet's samples are what they say, and its judges tell good from bad without having seen either."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

import pytest
from PIL import Image

from deploy.devnet import ports, samples
from deploy.devnet.process import DevnetError, Program, command
from deploy.devnet.samples import IMAGE_INSTRUCTIONS, TEXT_INSTRUCTIONS
from deploy.devnet.scorers import DigitJudge, TextJudge

THRESHOLD = 60
SEEDS = range(4)


def test_texts_are_judged_as_they_are(tmp_path: Path) -> None:
    texts = samples.write_texts(tmp_path)
    assert [sample.good for sample in texts].count(False) == 2
    for seed in SEEDS:
        judge = TextJudge(seed)
        for sample in texts:
            found = judge.judge(sample.path.read_bytes(), TEXT_INSTRUCTIONS)
            passes = min(found.accuracy, found.relevance) >= THRESHOLD
            assert passes is sample.good, (seed, sample.path.name, found)


def test_pictures_are_judged_as_they_are(tmp_path: Path) -> None:
    pictures = samples.write_images(tmp_path)
    assert [sample.good for sample in pictures].count(False) == 2
    for seed in SEEDS:
        judge = DigitJudge(seed)
        for sample in pictures:
            found = judge.judge(Image.open(sample.path), IMAGE_INSTRUCTIONS)
            passes = min(found.accuracy, found.relevance) >= THRESHOLD
            assert passes is sample.good, (seed, sample.path.name, found)


def test_pictures_are_pictures(tmp_path: Path) -> None:
    for sample in samples.write_images(tmp_path):
        with Image.open(sample.path) as picture:
            picture.load()
            assert (picture.format, picture.size) == ("PNG", (64, 64))


def test_a_picture_keeps_its_cells(tmp_path: Path) -> None:
    cells, _ = samples.digits()
    first = samples.write_images(tmp_path, 1)[0]
    with Image.open(first.path) as picture:
        assert abs(samples.read_cells(picture) - cells[samples.DIGITS[0]]).max() < 0.1


def test_same_bytes_every_time(tmp_path: Path) -> None:
    def digests(folder: Path) -> list[str]:
        written = (*samples.write_texts(folder / "t"), *samples.write_images(folder / "i"))
        return [hashlib.sha256(sample.path.read_bytes()).hexdigest() for sample in written]

    first = digests(tmp_path / "one")
    assert first == digests(tmp_path / "two")
    assert len(set(first)) == len(first)


def test_nobody_learns_from_what_is_submitted() -> None:
    learned = {name for name in samples.documentation() if samples.learned_from(name)}
    assert len(learned) > 20
    assert not learned & set(samples.TOPICS)
    assert all(place % 2 for place in samples.DIGITS), "judges of digits learn from the even places"


def test_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DevnetError, match=f"{port}.*--ports auto"):
            ports.fixed_ports(1, port)
        assert port not in ports.free_ports(50)


def test_program_is_stopped_and_its_log_kept(tmp_path: Path) -> None:
    program = Program("sleeper", command("http.server", "--bind", "127.0.0.1", "0"), tmp_path / "log")
    program.start()
    assert program.running
    program.kill()
    assert not program.running
    assert program.exit_code == -9
    broken = Program("broken", command("no.such.module"), tmp_path / "log")
    broken.start()
    assert broken.wait() == 1
    assert "ModuleNotFoundError" in broken.tail()
