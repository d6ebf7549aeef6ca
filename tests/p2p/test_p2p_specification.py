"""The page on the network agrees with the code on every message and on the limits that it states."""

from __future__ import annotations

import re
from pathlib import Path

from omnitensor.protocol import limits
from p2p.errors import HandshakeError, NetworkError
from p2p.messages import Lane, lane_of
from tests.p2p.network_samples import SAMPLES

PAGE = (Path(__file__).resolve().parents[2] / "docs/specification/network.md").read_text(encoding="utf-8")
KIB = 1024


def test_every_message_is_on_the_page_with_its_tag_and_lane() -> None:
    listed = re.findall(r"^\| (\d+) \| ([A-Z]\w+) \| ([A-Z]+) \|", PAGE, re.MULTILINE)
    expected = [
        (str(type(sample).__struct_config__.tag), type(sample).__name__, lane_of(sample).name)
        for sample in SAMPLES
    ]
    assert sorted(listed) == sorted(expected)


def test_every_named_limit_has_the_value_that_the_page_states() -> None:
    units = {"KiB": KIB, "MiB": KIB * KIB, "s": 1_000, "": 1}
    stated = re.findall(r"`(\w+_(?:max|ms))` = ([\d.,]+)(?: (KiB|MiB|s)\b)?", PAGE)
    assert len(stated) >= 8
    for name, number, unit in stated:
        assert getattr(limits, name) == float(number.replace(",", "")) * units[unit], name


def test_every_lane_is_on_the_page_with_its_queue() -> None:
    listed = re.findall(r"^\| (\d) \| ([A-Z]+) \| ([\d,]+); (\d+) MiB", PAGE, re.MULTILINE)
    assert [(int(number), name) for number, name, _, _ in listed] == [(int(lane), lane.name) for lane in Lane]
    for number, _, frames, mebibytes in listed:
        assert limits.outbox_frames_max[int(number)] == int(frames.replace(",", ""))
        assert limits.outbox_bytes_max[int(number)] == int(mebibytes) * KIB * KIB


def test_every_code_of_a_refused_handshake_is_on_the_page() -> None:
    kinds = [kind for kind in HandshakeError.__subclasses__() if kind.code != "handshake_timeout"]
    for kind in kinds:
        assert issubclass(kind, NetworkError)
        assert f"`{kind.code}`" in PAGE or kind.code == "wrong_version"
    assert "A version that differs" in PAGE
