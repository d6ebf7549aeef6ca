"""`otensor-cli evidence list`: what it says of validators and workers, as a table and as JSON."""

from __future__ import annotations

import pytest

from omnitensor.cli.evidence import as_plain, show
from omnitensor.protocol.types import NANO
from omnitensor.sdk.results import Conviction, EvidencePage, WorkerConviction

FOUND = EvidencePage(
    pool=[],
    convictions=[
        Conviction(
            "omnit1val", "finalize_twice", 3, 9, "ab" * 32, 44, "omnit1rep", 50 * NANO, 25 * NANO, 5 * NANO
        )
    ],
    workers=[
        WorkerConviction(
            "two_proposals",
            "omnit1one",
            51,
            10 * NANO,
            NANO,
            epoch=3,
            view=7,
            evidence="cd" * 32,
            reporter="omnit1rep",
        ),
        WorkerConviction(
            "fraud", "omnit1two", 52, 8 * NANO, 2 * NANO, job="ef" * 32, unit=4, reporter="omnit1ann"
        ),
        WorkerConviction("withheld", "omnit1two", 53, NANO // 2, 0, job="ef" * 32, unit=5),
    ],
)


def test_workers_stand_beside_validators(capsys: pytest.CaptureFixture[str]) -> None:
    show(FOUND)
    said = " ".join(capsys.readouterr().out.split())
    for part in (
        "omnit1val",
        "two proposals",
        "view 7 of epoch 3",
        "fraud",
        "unit 4 of job",
        "withheld",
        "omnit1ann",
    ):
        assert part in said, part
    assert "nobody was convicted" not in said


def test_nobody_is_said_to_be_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    show(EvidencePage(pool=[], convictions=[]))
    assert "nobody was convicted" in " ".join(capsys.readouterr().out.split())


def test_amounts_are_text_in_json() -> None:
    plain = as_plain(FOUND)
    assert "next" not in plain
    assert [row["slashed"] for row in plain["workers"]] == ["10", "8", "0.5"]
    assert (plain["convictions"][0]["burned"], plain["workers"][1]["unit"]) == ("25", 4)
