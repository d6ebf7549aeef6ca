"""Holds the documentation to what a machine can see: every link within the project leads to something."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#+ +(?P<text>.+)$", re.MULTILINE)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Anchors that a renderer makes of the headings: lower case, no punctuation, hyphens for spaces."""
    headings = (match["text"] for match in HEADING.finditer(page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.finditer(page.read_text(encoding="utf-8")):
        path, _, anchor = link["target"].partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)} links to {link['target']}, which is not there"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), (
                f"{name_of(page)} links to {link['target']}, which has no such heading"
            )


def test_every_page_can_be_reached_from_the_index() -> None:
    reached: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in LINK.finditer(page.read_text(encoding="utf-8")):
            target = (page.parent / link["target"].partition("#")[0]).resolve()
            if target in PAGES:
                ahead.append(target)
    assert not [name_of(page) for page in PAGES if page not in reached]


NAMED_TEST = re.compile(r"`(test_\w+)`")
TEST = re.compile(r"^\s*(?:async )?def (test_\w+)\(", re.MULTILINE)


def test_tests_that_pages_name_exist() -> None:
    """A page that says what was tried names who tries it."""
    there = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in TEST.findall(path.read_text("utf-8"))
    }
    named = {(name_of(page), name) for page in PAGES for name in NAMED_TEST.findall(page.read_text("utf-8"))}
    assert len(named) > 40
    assert sorted((page, name) for page, name in named if name not in there) == []
