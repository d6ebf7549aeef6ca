"""What the command line makes of near duplicates: reviewers see them, keep the reference, or name another item by hand."""

from __future__ import annotations

import pytest

from omnitensor.cli.review import _judgements_table, _with_given
from omnitensor.protocol.bodies import DuplicateOf
from omnitensor.protocol.reviews import Flag
from omnitensor.protocol.types import ItemId
from omnitensor.sdk import InputError
from omnitensor.sdk.batches import Judgement, ValidationResults

FOUND = ValidationResults(
    7,
    1,
    1,
    [
        Judgement(0, 10, 85, 85, 85),
        Judgement(
            1, 11, 85, 85, 85, int(Flag.DUPLICATE), ("nearly repeats item 4: 9 of 256 bits differ",), 4
        ),
    ],
)


def test_the_table_says_what_is_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    _judgements_table(FOUND)
    shown = capsys.readouterr().out
    assert "duplicate" in shown
    assert "nearly repeats item 4" in shown


def test_scores_from_a_file_keep_the_reference_or_name_another() -> None:
    kept = _with_given(FOUND, [(90, 90, 90), (80, 80, 80, 1)])
    assert kept.references() == (DuplicateOf(1, ItemId(4)),)
    named = _with_given(FOUND, [(90, 90, 90, 1, 3), (80, 80, 80, 0)])
    assert named.references() == (DuplicateOf(0, ItemId(3)),)
    with pytest.raises(InputError):
        _with_given(FOUND, [(90, 90, 90, 1, 3, 5), (80, 80, 80)])
