"""A scenario as a small JSON file: what is not in it is as usual. So that a shortened execution can be kept and replayed."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec

from tests.simulation.scenario import Scenario


def to_text(scenario: Scenario, mutant: str = "") -> str:
    """Everything that is not as usual, and the fault planted, if any."""
    usual = Scenario(seed=-1, weights=())
    lines = [
        f' "{field.name}": {_shown(field.name, getattr(scenario, field.name))}'
        for field in fields(Scenario)
        if getattr(scenario, field.name) != getattr(usual, field.name)
    ]
    if mutant:
        lines.append(f' "mutant": {json.dumps(mutant)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _shown(name: str, value: Any) -> str:
    """A field as JSON on one line; each fault of a plan on a line of its own, without what does not concern it."""
    plain = msgspec.to_builtins(value, str_keys=True)
    if name != "plan":
        return json.dumps(plain)
    faults = [json.dumps({key: fact for key, fact in fault.items() if fact}) for fault in plain]
    return "[" + ",".join(f"\n  {fault}" for fault in faults) + "]"


def from_text(text: str) -> tuple[Scenario, str]:
    """Scenario, and the name of the fault planted or nothing. Raises ValueError for anything else."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("not a scenario: a JSON object is expected")
    mutant = str(found.pop("mutant", ""))
    unknown = sorted(set(found) - {field.name for field in fields(Scenario)})
    if unknown:
        raise ValueError(f"not a scenario: it has no {unknown[0]!r}")
    return msgspec.convert(found, Scenario, strict=False), mutant


def load(path: Path) -> tuple[Scenario, str]:
    return from_text(path.read_text("utf-8"))
