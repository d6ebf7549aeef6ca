"""Holds the pages of reference to the code: every command, option and metric is there, and says what it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from tests.style.reference_pages import PAGES, PAGES_MADE, PROGRAMS, every_command

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("name", "made"), PAGES_MADE)
def test_page_is_what_the_code_says(name: str, made: Callable[[], str]) -> None:
    written = (PAGES / name).read_text(encoding="utf-8")
    assert written == made(), "write it anew: python -m tests.style.reference_pages"


def test_every_command_and_option_says_what_it_is() -> None:
    mute = []
    for program, root in PROGRAMS:
        for name, command in every_command(program, root):
            mute += [] if command.help else [name]
            mute += [
                f"{name} {param.opts[0]}"
                for param in command.params
                if isinstance(param, click.Option) and not param.help
            ]
    assert mute == []


def test_readme_lists_every_make_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    listed = set(re.findall(r"^\| `make ([a-z-]+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE))
    assert listed == targets - {"help"}
