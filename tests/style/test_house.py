"""Holds every file to the house rules that a machine can see; what needs judgement is left to readers."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("omnitensor", "consensus", "state", "datalayer", "p2p", "rpc", "node", "deploy", "benchmarks")
LINES_MAX = 500

UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b|NotImplementedError")
PRIVATE_PATH = re.compile(r"(?<![\w.])/(work|home|root|Users)/")
REGISTRY = re.compile(r"--(?:index|extra-index|find-links)|trusted-host", re.IGNORECASE)
SILENCED = re.compile(
    r"#\s*(?:type:\s*ignore|noqa|pragma)(?::?\s*(?:\[[\w, -]+\]|[A-Z]+\d+(?:,\s*[A-Z]+\d+)*))?(?P<reason>.*)"
)

PACKAGE_FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TEST_FILES = sorted((ROOT / "tests").rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def kept_files() -> list[Path]:
    """Every text file that belongs to the project: what git tracks, or, outside a checkout, what lies here."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        paths = [*PACKAGE_FILES, *TEST_FILES, *ROOT.glob("*.*"), *(ROOT / "docs").rglob("*.md")]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8192]]


def comments(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for token in tokenize.tokenize(io.BytesIO(file.read()).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def gives_reason(silenced: re.Match[str]) -> bool:
    """Whether at least two words stand beside what was silenced."""
    return len(re.findall(r"\w+", silenced["reason"])) >= 2


def hits(pattern: re.Pattern[str], path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [
        f"{name_of(path)}:{number}: {line.strip()}"
        for number, line in enumerate(lines, 1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize("path", [*PACKAGE_FILES, *TEST_FILES], ids=name_of)
def test_module_says_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, f"{name_of(path)} opens without a docstring that says what it is"


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=name_of)
def test_file_is_short_enough_to_read(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= LINES_MAX, f"{name_of(path)} has {lines} lines; split it by noun (at most {LINES_MAX})"


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=name_of)
def test_nothing_is_left_unfinished(path: Path) -> None:
    assert not hits(UNFINISHED, path)


def test_no_path_of_somebodys_machine() -> None:
    # This file alone has such paths, as what it looks for.
    found = [hit for path in kept_files() if path != Path(__file__) for hit in hits(PRIVATE_PATH, path)]
    assert not found, "\n" + "\n".join(found)


def test_lock_names_no_registry() -> None:
    lock = ROOT / "requirements.lock"
    text = lock.read_text(encoding="utf-8")
    assert not hits(REGISTRY, lock)
    assert "://" not in text
    pins = [line for line in text.splitlines() if re.match(r"[a-z0-9]", line)]
    assert len(pins) > 40
    assert all(re.fullmatch(r"[a-z0-9._-]+==\S+ \\", line) for line in pins), (
        "every pin is exact and carries hashes"
    )


@pytest.mark.parametrize("path", PACKAGE_FILES, ids=name_of)
def test_silenced_checks_give_their_reason(path: Path) -> None:
    for number, comment in comments(path):
        silenced = SILENCED.search(comment)
        if silenced:
            assert gives_reason(silenced), f"{name_of(path)}:{number}: say why beside `{comment}`"


def test_every_module_is_in_a_package() -> None:
    """A folder without __init__.py would be missing from the wheel."""
    folders = {path.parent for path in PACKAGE_FILES}
    assert not [name_of(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()]


def test_packages_are_looked_at() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in PACKAGE_FILES} == set(PACKAGES)


@pytest.mark.parametrize(
    ("pattern", "planted"),
    [
        (UNFINISHED, "raise NotImplementedError"),
        (UNFINISHED, "# TODO later"),
        (PRIVATE_PATH, 'open("/home/somebody/key")'),
        (REGISTRY, "--extra-index-url x"),
    ],
)
def test_planted_lapse_is_found(pattern: re.Pattern[str], planted: str) -> None:
    assert pattern.search(planted)


@pytest.mark.parametrize(
    ("comment", "reasoned"),
    [
        ("# type: ignore", False),
        ("# type: ignore[attr-defined]", False),
        ("# noqa: RUF012, E501", False),
        ("# noqa: RUF012  msgspec copies an empty default", True),
        ("# type: ignore[no-untyped-call]  # plyvel ships no types", True),
    ],
)
def test_silence_without_reason_is_found(comment: str, reasoned: bool) -> None:
    silenced = SILENCED.search(comment)
    assert silenced
    assert gives_reason(silenced) is reasoned
