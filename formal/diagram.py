"""Draws the states of a view from the table on the stake proof's page: ``python -m formal.diagram`` writes the drawing anew.

Reads that one table and nothing else, so the drawing can't say what the table doesn't. Knows no rule of consensus but the names
of the states that an action leads to.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "specification" / "consensus.md"
HEAD: Final = "| state of the current view |"
BEGIN, END = (
    "<!-- drawn from the table above: python -m formal.diagram -->\n",
    "<!-- end of the drawing -->\n",
)


class Move(NamedTuple):
    """In a state, an event makes a validator do something: one cell of the table."""

    state: str
    event: str
    deed: str


def moves(page: str) -> Iterator[Move]:
    """Every cell of the table that says something, row by row."""
    lines = iter(page.splitlines())
    head = next(line for line in lines if line.startswith(HEAD))
    next(lines)
    _, *events = _cells(head)
    for line in lines:
        if not line.startswith("|"):
            return
        state, *deeds = _cells(line)
        assert len(deeds) == len(events), line
        yield from (Move(state, event, deed) for event, deed in zip(events, deeds, strict=True) if deed)


def states(page: str) -> list[str]:
    """The rows of the table in order."""
    return list(dict.fromkeys(move.state for move in moves(page)))


def follower(state: str, deed: str) -> str:
    """The state in which a deed leaves a validator; the same one where it changes none."""
    if "commit" in deed:
        return "final"
    if "enter next" in deed:
        return "left, SKIP sent" if state == "skipped by me" else "left, no SKIP sent"
    if re.search(r"\bSKIP\b", deed):
        return "skipped by me"
    if "NOTARIZE" in deed and state == "waiting":
        return "notarized by me"
    return state


def drawing(page: str) -> str:
    """The table as a Mermaid state diagram. What changes no state is listed in the state."""
    names = {state: f"s{number}" for number, state in enumerate([*states(page), "final"])}
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f'    state "{state}" as {name}' for state, name in names.items()]
    lines.append(f"    [*] --> {names[states(page)[0]]}: enter the view")
    for move in moves(page):
        after = follower(move.state, move.deed)
        lines.append(
            f"    {names[move.state]} --> {names[after]}: {move.event} / {move.deed.replace(':', ' -')}"
        )
    return "\n".join([*lines, f"    {names['final']} --> [*]", "```"]) + "\n"


def with_drawing(page: str) -> str:
    """The page with its drawing made anew."""
    before, rest = page.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    return before + BEGIN + drawing(page) + END + after


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


if __name__ == "__main__":
    written = with_drawing(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(written, encoding="utf-8")
