"""The entry point without a node's dependencies: one line that says what to install."""

import builtins
import sys
from typing import Any

import pytest

from node import entry


def test_a_missing_dependency_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "node.cli":
            raise ModuleNotFoundError("No module named 'plyvel'", name="plyvel")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "node.cli", raising=False)
    with pytest.raises(SystemExit) as exit_status:
        entry.main()
    assert exit_status.value.code == 1
    assert capsys.readouterr().err == (
        "error: a node needs the package plyvel (install it with: pip install 'omnitensor[node]')\n"
    )
