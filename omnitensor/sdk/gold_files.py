"""A sponsor's gold as files: which answers belong to which file, from a sidecar (CSV, JSON, JSONL, TOML) or from folders' names.

Knows files and their answers; nothing of chains. Every fault is found at once.
"""

from __future__ import annotations

import csv
import io
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from omnitensor.protocol.amounts import whole_number
from omnitensor.protocol.json_depth import is_deep
from omnitensor.protocol.limits import MIB, gold_items_max, json_depth_max
from omnitensor.sdk.errors import FileError, InputError
from omnitensor.sdk.faults import Fault, FaultsError, shown

CRITERIA: Final = ("completeness", "accuracy", "relevance")
ALL_PASS: Final = 7
sidecar_bytes_max: Final = 32 * MIB
FAULTS_MAX: Final = 100
"""Faults that are listed; there may be thousands of one kind."""
SIDECARS: Final = tuple(
    f"{name}.{kind}" for name in ("answers", "gold") for kind in ("csv", "json", "jsonl", "toml")
)
_YES: Final = frozenset({"1", "true", "yes", "pass"})
_NO: Final = frozenset({"0", "false", "no", "fail"})
_HOW: Final = "give pass, or completeness, accuracy and relevance: 1 passes, 0 does not"


class Answer(msgspec.Struct, frozen=True):
    """A file and which criteria it passes (1, 2 and 4); tier and category where they were given."""

    path: Path
    bits: int
    where: str
    """Where it was said, for faults."""
    tier: int | None = None
    category: str | int | None = None


class Row(msgspec.Struct, frozen=True):
    """A line of a sidecar before it is understood."""

    where: str
    fields: Mapping[str, Any]


def answers_in(source: Path, sidecar: Path | None = None) -> list[Answer]:
    """The answers in a folder or a sidecar. Raises FaultsError with every fault, FileError or InputError.

    A sidecar names files beside it. A folder has one (`answers.csv`, `gold.json` ...), or one is given, or it has sub-folders
    `pass`, `fail` and `fail-CRITERION[-CRITERION]`. Every file of a folder needs an answer; hidden ones are left out.
    """
    if not source.exists():
        raise FileError(
            "there is no such file or folder", value=source, remedy="give a folder, or a file of answers"
        )
    if source.is_file():
        found, faults = _from_rows(source.parent, _rows(source))
    else:
        named = sidecar or _sidecar_in(source)
        found, faults = _from_folders(source) if named is None else _from_rows(source, _rows(named))
        if named is not None:
            faults += _unanswered(source, named, found)
    faults += _twice(found)
    if faults:
        raise FaultsError(faults[:FAULTS_MAX])
    if not 0 < len(found) <= gold_items_max:
        raise InputError(
            "no answers, or too many",
            value=f"{len(found)} in {source}",
            remedy=f"1 to {gold_items_max} files",
        )
    return found


def _sidecar_in(folder: Path) -> Path | None:
    """The sidecar of a folder. Raises InputError where there are two."""
    there = [folder / name for name in SIDECARS if (folder / name).is_file()]
    if len(there) > 1:
        raise InputError(
            "the folder has two files of answers",
            value=", ".join(each.name for each in there),
            remedy="leave one, or name one with --answers",
        )
    return there[0] if there else None


def _rows(path: Path) -> Iterator[Row]:
    """The lines of a sidecar. Raises FileError where it can't be read."""
    try:
        data = path.read_bytes()[: sidecar_bytes_max + 1]
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(
            f"the answers can't be read ({error})", value=path, remedy="give a text file"
        ) from error
    if len(data) > sidecar_bytes_max:
        raise FileError("the answers are too large", value=path, remedy=f"at most {sidecar_bytes_max} bytes")
    readers = {".csv": _csv_rows, ".json": _json_rows, ".jsonl": _jsonl_rows, ".toml": _toml_rows}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise FileError("no kind of file for answers", value=path, remedy=f"give one of {', '.join(readers)}")
    try:
        for where, fields in reader(text):
            if not isinstance(fields, Mapping):
                raise FileError(f"{where} is no object with path and answers", value=path, remedy=_HOW)
            yield Row(f"{path}, {where}", fields)
    except (ValueError, csv.Error, RecursionError) as error:  # JSON's and TOML's errors are of the first kind
        raise FileError(f"the answers can't be read: {error}", value=path, remedy="mend that line") from error


def _csv_rows(text: str) -> Iterator[tuple[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    for fields in reader:
        if None in fields:
            raise ValueError(f"line {reader.line_num} has more cells than the first")
        yield (
            f"line {reader.line_num}",
            {name: cell for name, cell in fields.items() if cell not in (None, "")},
        )


def _json_rows(text: str) -> Iterator[tuple[str, Any]]:
    found = _json(text)
    if isinstance(found, dict):
        for name, answer in found.items():
            fields = answer if isinstance(answer, dict) else {"pass": answer}
            yield f"key {name}", {"path": name, **fields}
    elif isinstance(found, list):
        for place, fields in enumerate(found, 1):
            yield f"entry {place}", fields
    else:
        raise ValueError("a list of objects, or an object by path, is wanted")


def _jsonl_rows(text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield f"line {number}", _json(line)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error


def _toml_rows(text: str) -> Iterator[tuple[str, Any]]:
    found = tomllib.loads(text)
    rows = found.get("item")
    if not isinstance(rows, list) or len(found) > 1:
        raise ValueError("tables [[item]] with path and answers are wanted, and nothing else")
    for place, fields in enumerate(rows, 1):
        yield f"[[item]] {place}", fields


def _json(text: str) -> Any:
    if is_deep(text, json_depth_max):
        raise ValueError("nested too deeply")
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice} is there twice")
    return found


def _from_rows(folder: Path, rows: Iterable[Row]) -> tuple[list[Answer], list[Fault]]:
    found: list[Answer] = []
    faults: list[Fault] = []
    for row in rows:
        answer = _answer(folder, row, faults)
        if answer is not None:
            found.append(answer)
    return found, faults


_KEYS: Final = ("path", "pass", *CRITERIA, "tier", "category")


def _answer(folder: Path, row: Row, faults: list[Fault]) -> Answer | None:
    """A row understood, or None with its faults."""
    before = len(faults)
    fields = dict(row.fields)
    for name in fields.keys() - set(_KEYS):
        faults.append(
            Fault(
                row.where,
                f"there is no column {name}",
                shown(fields[name]),
                f"the columns are {', '.join(_KEYS)}",
            )
        )
    named = fields.get("path")
    path = _path(folder, named) if isinstance(named, str) and named else None
    if path is None:
        faults.append(
            Fault(
                row.where,
                "no file beside the answers is named",
                shown(named or ""),
                "give its path in the folder",
            )
        )
    elif not _is_file(path):
        faults.append(
            Fault(row.where, "there is no such file", str(path), "correct the path, or remove the line")
        )
    bits = _bits(row, fields, faults)
    tier = fields.get("tier")
    number = whole_number(str(tier))
    if tier is not None and number is None:
        faults.append(Fault(row.where, "a tier is a number", shown(tier), "give the tier's index, from 0"))
    if len(faults) > before:
        return None
    assert path is not None
    return Answer(path, bits, row.where, number, fields.get("category"))


def _path(folder: Path, name: str) -> Path | None:
    """A path inside the folder, None for one that leads out of it."""
    try:
        path = (folder / name).resolve()
    except (ValueError, OSError):  # no name of a file at all
        return None
    return path if path.is_relative_to(folder.resolve()) else None


def _is_file(path: Path) -> bool:
    """Whether there is a file; where its name is longer than a name can be, there is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _bits(row: Row, fields: Mapping[str, Any], faults: list[Fault]) -> int:
    named = [name for name in CRITERIA if name in fields]
    if "pass" in fields:
        if named:
            faults.append(
                Fault(
                    row.where, "both pass and single criteria are given", ", ".join(named), "give one of them"
                )
            )
        return ALL_PASS if _bit(row, "pass", fields["pass"], faults) else 0
    bits = 0
    for place, name in enumerate(CRITERIA):
        bits |= _bit(row, name, fields.get(name), faults) << place
    return bits


def _bit(row: Row, name: str, value: Any, faults: list[Fault]) -> int:
    text = str(value).strip().lower()
    if value is not None and text in _YES:
        return 1
    if value is None or text not in _NO:
        faults.append(
            Fault(
                row.where,
                f"it does not say whether {name} passes",
                shown("" if value is None else value),
                _HOW,
            )
        )
    return 0


def _from_folders(folder: Path) -> tuple[list[Answer], list[Fault]]:
    """Answers from sub-folders' names."""
    found: list[Answer] = []
    faults: list[Fault] = []
    for inside in sorted(folder.iterdir()):
        if inside.name.startswith("."):
            continue
        bits = _bits_of_name(inside.name) if inside.is_dir() else None
        if bits is None:
            faults.append(
                Fault(
                    str(folder),
                    "there are neither answers nor sub-folders for this",
                    inside.name,
                    f"put files into pass, fail or fail-CRITERION, or answers beside them ({SIDECARS[0]})",
                )
            )
            continue
        found += [Answer(path.resolve(), bits, str(inside)) for path in _files(inside)]
    return found, faults


def _bits_of_name(name: str) -> int | None:
    """Which criteria a sub-folder's files pass; None where its name says nothing."""
    if name == "pass":
        return ALL_PASS
    first, *failing = name.split("-")
    if first != "fail" or not set(failing) <= set(CRITERIA):
        return None
    return sum(1 << place for place, each in enumerate(CRITERIA) if each not in failing) if failing else 0


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _unanswered(folder: Path, sidecar: Path, found: Iterable[Answer]) -> list[Fault]:
    answered = {answer.path for answer in found} | {sidecar.resolve()}
    return [
        Fault(
            str(sidecar),
            "a file of the folder has no answer",
            str(path),
            "add a line for it, or move it away",
        )
        for path in _files(folder)
        if path.resolve() not in answered
    ]


def _twice(found: Iterable[Answer]) -> list[Fault]:
    seen: dict[Path, str] = {}
    return [
        Fault(
            answer.where,
            "the file was named before",
            answer.path.name,
            f"remove one; the other is {seen[answer.path]}",
        )
        for answer in found
        if seen.setdefault(answer.path, answer.where) is not answer.where
    ]
