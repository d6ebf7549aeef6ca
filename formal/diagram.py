"""Draws the states of a view from the tables on the stake proof's page: ``python -m formal.diagram`` writes the drawings anew.

Reads those two tables and nothing else, so a drawing can't say what its table doesn't. Knows no rule of consensus but the names
of the states that an action leads to.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "specification" / "consensus.md"
HEAD: Final = "| state of the current view |"
"""Of the table of a validator's view,"""
WORKER_HEAD: Final = "| a worker's view |"
"""and of the table of a view of a worker, which does not vote."""
BEGIN, END = (
    "<!-- drawn from the table above: python -m formal.diagram -->\n",
    "<!-- end of the drawing -->\n",
)


class Move(NamedTuple):
    """In a state, an event makes a validator do something: one cell of the table."""

    state: str
    event: str
    deed: str


def moves(page: str, table: str = HEAD) -> Iterator[Move]:
    """Every cell of the table that says something, row by row."""
    lines = iter(page.splitlines())
    head = next(line for line in lines if line.startswith(table))
    next(lines)
    _, *events = _cells(head)
    for line in lines:
        if not line.startswith("|"):
            return
        state, *deeds = _cells(line)
        assert len(deeds) == len(events), line
        yield from (Move(state, event, deed) for event, deed in zip(events, deeds, strict=True) if deed)


def states(page: str, table: str = HEAD) -> list[str]:
    """The rows of the table in order."""
    return list(dict.fromkeys(move.state for move in moves(page, table)))


WORKER_STATES: Final = ("another leads", "it leads", "it has offered", "it gave up")


def follower(state: str, deed: str) -> str:
    """The state in which a deed leaves a validator; the same one where it changes none."""
    if "commit" in deed:
        return "final"
    if "enter next" in deed and state in WORKER_STATES:
        return "left"
    if "offer" in deed:
        return "it has offered"
    if "give up" in deed:
        return "it gave up"
    if "enter next" in deed:
        return "left, SKIP sent" if state == "skipped by me" else "left, no SKIP sent"
    if re.search(r"\bSKIP\b", deed):
        return "skipped by me"
    if "NOTARIZE" in deed and state == "waiting":
        return "notarized by me"
    return state


def drawing(page: str, table: str = HEAD) -> str:
    """The table as a Mermaid state diagram. What changes no state is listed in the state."""
    first, *_ = found = states(page, table)
    names = {state: f"s{number}" for number, state in enumerate([*found, "final"])}
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f'    state "{state}" as {name}' for state, name in names.items()]
    for state in (first, "it leads"):
        if state in names:
            lines.append(f"    [*] --> {names[state]}: enter the view")
    for move in moves(page, table):
        after = follower(move.state, move.deed)
        lines.append(
            f"    {names[move.state]} --> {names[after]}: {move.event} / {move.deed.replace(':', ' -')}"
        )
    return "\n".join([*lines, f"    {names['final']} --> [*]", "```"]) + "\n"


def with_drawing(page: str) -> str:
    """The page with its drawings made anew, in the order of their tables."""
    before, *rest = page.split(BEGIN)
    parts = [before]
    for table, part in zip((HEAD, WORKER_HEAD), rest, strict=True):
        _, after = part.split(END, 1)
        parts.append(drawing(page, table) + END + after)
    return BEGIN.join(parts)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


if __name__ == "__main__":
    written = with_drawing(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(written, encoding="utf-8")
