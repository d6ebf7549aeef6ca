"""Pages of full blocks: a line about a block must not cost its every transaction."""

from __future__ import annotations

import pytest

from omnitensor.protocol.bodies import Transfer
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.types import Amount
from rpc.methods import TABLE
from rpc.table import Context
from state import reader as readers
from tests.rpc.world import TestBackend
from tests.state.chain_fixtures import key


def test_pages_decode_what_they_show(backend: TestBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    to = key("somebody")
    for _ in range(3):
        backend.commit(*((key(f"a{number}"), Transfer(to.address, Amount(1))) for number in range(3)))
    reader = backend.reader()
    decoded = 0
    real = readers.decode

    def counted(*args: object) -> object:
        nonlocal decoded
        decoded += 1
        return real(*args)  # type: ignore[arg-type]  # passed on as they came

    def whole(*_: object) -> None:
        raise AssertionError("no page needs a whole block")

    monkeypatch.setattr(readers, "decode", counted)
    monkeypatch.setattr(readers.Reader, "block", whole)
    context = Context(backend, reader, None, None)  # type: ignore[arg-type]  # nothing here waits
    methods = {method.name: method for method in TABLE}

    def call(name: str, **params: object) -> object:
        return methods[name].run(context, methods[name].arguments(params))

    page = call("chain.blocks", limit=10)
    assert [line.transactions for line in page.blocks] == [3, 3, 3, 0]  # type: ignore[attr-defined]  # a page
    assert decoded == 0
    lines = call("tx.by_address", address=format_address(key("a1").address), limit=2)
    assert len(lines.transactions) == 2  # type: ignore[attr-defined]  # a page
    assert decoded == 2
