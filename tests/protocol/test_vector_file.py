"""The guard that no vector goes unlooked at must itself fail when one does."""

from __future__ import annotations

import pytest

from tests.protocol.vector_file import VectorFile


def test_a_case_never_looked_at_fails() -> None:
    file = VectorFile("vectors/bech32m.json", depth=2)
    for _ in file.under("valid"):
        pass
    with pytest.raises(AssertionError, match="never looked at"):
        file.done()
    for _ in file.under("invalid"):
        pass
    file.done()


def test_a_case_passed_over_within_its_kind_fails() -> None:
    file = VectorFile("vectors/rfc6962.json", depth=2)
    for kind in ("inclusion", "consistency"):
        for _ in file.under(kind):
            pass
    file.done()
    file.seen.pop()
    with pytest.raises(AssertionError, match="1 of "):
        file.done()
