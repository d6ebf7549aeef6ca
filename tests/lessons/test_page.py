"""The page of lessons and the tests that it names: each is there, and each test is named after its system."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "lessons"


def test_page_and_tests_name_each_other() -> None:
    page = (ROOT / "docs" / "lessons.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+\.py)`", page))
    there = {path.name for path in HERE.glob("test_*.py")} - {Path(__file__).name}
    assert named == there


def test_every_test_is_named_after_the_system_of_its_file() -> None:
    for path in sorted(HERE.glob("test_*.py")):
        if path == Path(__file__):
            continue
        systems = [part for part in path.stem.removeprefix("test_").split("_") if not part.isdigit()]
        tests = re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert tests, path.name
        for name in tests:
            assert name.split("_")[1] in systems, f"{path.name}: {name}"
        for system in systems:
            assert any(name.split("_")[1] == system for name in tests), f"{path.name}: no test of {system}"
