"""Counters of the network by name and labels, for metrics. Knows no library of metrics: the node shows them."""

from __future__ import annotations

from collections import Counter


class Counters:
    """Numbers that only grow. Labels are from fixed sets (kinds, codes, lanes), never a stranger's text."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()

    def add(self, name: str, count: int = 1, **labels: str) -> None:
        self._counts[name, tuple(labels.items())] += count

    def get(self, name: str, **labels: str) -> int:
        return self._counts[name, tuple(labels.items())]

    def snapshot(self) -> dict[str, int]:
        """All counts as `name{label=value}`."""
        return {_title(name, labels): count for (name, labels), count in sorted(self._counts.items())}


def _title(name: str, labels: tuple[tuple[str, str], ...]) -> str:
    inside = ",".join(f"{label}={value}" for label, value in labels)
    return f"{name}{{{inside}}}" if inside else name
