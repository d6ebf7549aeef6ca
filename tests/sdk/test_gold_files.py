"""Answers of gold as files: every form of them says the same, and every fault is named with its place, all at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.protocol import merkle
from omnitensor.protocol.reviews import gold_leaf
from omnitensor.sdk.errors import FileError, InputError
from omnitensor.sdk.faults import FaultsError
from omnitensor.sdk.gold_book import GoldBook, Piece, Tree
from omnitensor.sdk.gold_files import answers_in
from omnitensor.sdk.results import hash_of

FILES = {"good.txt": 7, "dull.txt": 0, "sub/half.txt": 5}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / "gold" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the text of {name}")
    (tmp_path / "gold" / ".hidden").write_text("not asked about")
    return tmp_path / "gold"


SIDECARS = {
    "answers.csv": "path,completeness,accuracy,relevance\ngood.txt,1,1,1\ndull.txt,0,0,0\nsub/half.txt,1,0,1\n",
    "gold.csv": "path,pass,completeness,accuracy,relevance,tier\ngood.txt,yes,,,,1\ndull.txt,FAIL\n"
    "sub/half.txt,,true,no,pass,2\n",
    "answers.json": json.dumps(
        {
            "good.txt": True,
            "dull.txt": {"pass": 0},
            "sub/half.txt": {"completeness": 1, "accuracy": False, "relevance": "yes"},
        }
    ),
    "gold.json": json.dumps(
        [
            {"path": "good.txt", "pass": 1},
            {"path": "dull.txt", "pass": False},
            {"path": "sub/half.txt", "completeness": 1, "accuracy": 0, "relevance": 1},
        ]
    ),
    "answers.jsonl": '{"path": "good.txt", "pass": true}\n\n{"path": "dull.txt", "pass": "no"}\n'
    '{"path": "sub/half.txt", "completeness": 1, "accuracy": 0, "relevance": 1, "category": "few"}\n',
    "gold.toml": '[[item]]\npath = "good.txt"\npass = true\n[[item]]\npath = "dull.txt"\npass = false\n'
    '[[item]]\npath = "sub/half.txt"\ncompleteness = true\naccuracy = false\nrelevance = 1\n',
}


@pytest.mark.parametrize("name", SIDECARS)
def test_every_form_says_the_same(folder: Path, name: str) -> None:
    (folder / name).write_text(SIDECARS[name])
    expected = {folder / path: bits for path, bits in FILES.items()}
    assert {answer.path: answer.bits for answer in answers_in(folder)} == expected
    assert {answer.path: answer.bits for answer in answers_in(folder / name)} == expected
    elsewhere = folder.parent / f"elsewhere{Path(name).suffix}"
    (folder / name).rename(elsewhere)
    assert {answer.path: answer.bits for answer in answers_in(folder, elsewhere)} == expected


def test_answers_from_folders(tmp_path: Path) -> None:
    for name, bits in (("pass", 7), ("fail", 0), ("fail-accuracy", 5), ("fail-relevance-completeness", 2)):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / f"{bits}.txt").write_text(name)
    found = answers_in(tmp_path)
    assert {answer.path.stem: answer.bits for answer in found} == {"7": 7, "0": 0, "5": 5, "2": 2}
    (tmp_path / "stray.txt").write_text("")
    (tmp_path / "fail-beauty").mkdir()
    with pytest.raises(FaultsError) as caught:
        answers_in(tmp_path)
    assert {fault.value for fault in caught.value.faults} == {"stray.txt", "fail-beauty"}


def test_every_fault_at_once(folder: Path) -> None:
    (folder / "answers.csv").write_text(
        "path,completeness,accuracy,relevance,pass,colour\n"
        "good.txt,1,1,1\n"
        "dull.txt,1,maybe,\n"
        "../outside.txt,1,1,1\n"
        "absent.txt,1,1,1\n"
        "good.txt,,,,1\n"
        ",,,,1\n"
        "dull.txt,1,1,1,1,red\n"
    )
    (folder.parent / "outside.txt").write_text("x")
    with pytest.raises(FaultsError) as caught:
        answers_in(folder)
    found = [(fault.where.rpartition(", ")[2], fault.reason) for fault in caught.value.faults]
    assert found == [
        ("line 3", "it does not say whether accuracy passes"),
        ("line 3", "it does not say whether relevance passes"),
        ("line 4", "no file beside the answers is named"),
        ("line 5", "there is no such file"),
        ("line 7", "no file beside the answers is named"),
        ("line 8", "there is no column colour"),
        ("line 8", "both pass and single criteria are given"),
        (str(folder / "answers.csv"), "a file of the folder has no answer"),
        (str(folder / "answers.csv"), "a file of the folder has no answer"),
        ("line 6", "the file was named before"),
    ]
    assert all(fault.remedy for fault in caught.value.faults)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("answers.json", "{"),
        ("answers.json", "5"),
        ("answers.json", "[5]"),
        ("answers.json", "[" * 100_000),
        ("answers.json", '{"a": 1, "a": 0}'),
        ("answers.jsonl", '{"path": "good.txt", "pass": 1}\nnonsense\n'),
        ("answers.toml", "item = 5"),
        ("answers.toml", "[[item"),
        ("answers.csv", "path,pass\ngood.txt,1,2,3\n"),
        ("answers.csv", "path,pass\n"),
        ("answers.xml", "<answers/>"),
    ],
)
def test_what_is_no_list_of_answers(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(InputError) as caught:
        answers_in(folder / name)
    assert caught.value.remedy


def test_two_sidecars_or_nothing(folder: Path, tmp_path: Path) -> None:
    for name in ("answers.csv", "gold.json"):
        (folder / name).write_text(SIDECARS[name])
    with pytest.raises(InputError, match="two files of answers"):
        answers_in(folder)
    with pytest.raises(FileError, match="no such"):
        answers_in(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no answers"):
        answers_in(tmp_path / "empty")


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70))
def test_the_books_tree_is_the_ledgers(count: int) -> None:
    pieces = [Piece.new(f"{n:064x}", n % 8, f"{n}", None, None) for n in range(count)]
    tree = Tree(GoldBook(7, "chain", pieces))
    for place, piece in enumerate(pieces):
        spare = tree.spare(place)
        leaf = gold_leaf("chain", 7, spare.chunk_root, spare.bits, spare.salt)
        assert hash_of(piece.chunk_root) == spare.chunk_root
        assert merkle.verify_inclusion(merkle.leaf_hash(leaf), place, count, spare.path, tree.root)
        assert tree.opening(place, 5).path == spare.path
