"""A readable account of an execution: for every view who led it and who said what, in one table. Watches; changes nothing."""

from __future__ import annotations

from typing import Any

from omnitensor.protocol.votes import Certificate, Proposal, Vote

LETTERS = {1: "N", 2: "S", 3: "F"}
VIEWS_SHOWN = 24
Place = tuple[int, int]
"""Epoch and view."""


def name_of(candidate_id: bytes) -> str:
    return bytes(candidate_id)[:2].hex()


class Story:
    """What was said, by epoch and view, then by machine, in order and each thing once."""

    def __init__(self) -> None:
        self._views: dict[Place, dict[int, list[str]]] = {}
        self._certificates: dict[Place, list[str]] = {}
        self._proposals: dict[Place, list[str]] = {}

    def told(self, machine: int, message: Any) -> None:
        """What a machine says to somebody or to all."""
        match message:
            case Proposal(candidate=candidate, leader_vote=vote):
                parent = f"{name_of(candidate.parent_id)} of view {candidate.parent_view}"
                line = f"{machine}: {name_of(vote.candidate_id)} on {parent}"
                _once(self._proposals, (candidate.epoch, candidate.view), line)
            case Vote():
                self._vote(machine, message)
            case Certificate(kind=kind, epoch=epoch, view=view, candidate_id=candidate_id):
                _once(self._certificates, (epoch, view), _said(kind, candidate_id))

    def _vote(self, machine: int, vote: Vote) -> None:
        said = self._views.setdefault((vote.epoch, vote.view), {}).setdefault(machine, [])
        what = _said(vote.kind, vote.candidate_id)
        if what not in said:
            said.append(what)

    def table(self, views_max: int = VIEWS_SHOWN) -> list[str]:
        """One line a view, newest last; a column a machine: N notarize, S skip, F finalize, and the candidate."""
        machines = sorted({machine for said in self._views.values() for machine in said})
        places = sorted(set(self._views) | set(self._certificates) | set(self._proposals))
        rows = [["epoch.view", "proposed", *(f"node {machine}" for machine in machines), "certificates"]]
        for place in places[-views_max:]:
            said = self._views.get(place, {})
            rows.append(
                [
                    f"{place[0]}.{place[1]}",
                    "; ".join(self._proposals.get(place, [])),
                    *(" ".join(said.get(machine, [])) for machine in machines),
                    " ".join(self._certificates.get(place, [])),
                ]
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        left_out = len(places) - len(rows) + 1
        return [f"({left_out} views before these are left out)"] * (left_out > 0) + [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]


def _said(kind: int, candidate_id: bytes) -> str:
    return LETTERS[kind] + (":" + name_of(candidate_id) if kind != 2 else "")


def _once(into: dict[Place, list[str]], place: Place, line: str) -> None:
    lines = into.setdefault(place, [])
    if line not in lines:
        lines.append(line)
