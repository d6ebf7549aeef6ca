"""A file of public vectors that knows which of its cases a test has looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.shared_data import shared_json


class VectorFile:
    """The cases of a shared vector file by path; `done()` fails while any of them was never looked at."""

    def __init__(self, relative: str, depth: int) -> None:
        """`depth` is the number of dictionaries or lists between the file's top and a case."""
        self.cases = dict(_cases(shared_json(relative), depth, ()))
        self.seen: set[tuple[str, ...]] = set()

    def under(self, *prefix: str) -> Iterator[tuple[str, Any]]:
        """Each case below a prefix of its path, by the rest of the path; to be given one is to look at it."""
        for path, case in self.cases.items():
            if path[: len(prefix)] == prefix:
                self.seen.add(path)
                yield "/".join(path[len(prefix) :]), case

    def done(self) -> None:
        """Fail where the file is empty or a case was never looked at."""
        assert self.cases, "the file holds no case"
        missed = sorted("/".join(path) for path in self.cases if path not in self.seen)
        assert not missed, f"{len(missed)} of {len(self.cases)} cases were never looked at: {missed[:5]}"


def _cases(value: Any, depth: int, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if depth == 0:
        yield path, value
        return
    pairs = value.items() if isinstance(value, dict) else ((str(i), each) for i, each in enumerate(value))
    for name, each in pairs:
        yield from _cases(each, depth - 1, (*path, name))
