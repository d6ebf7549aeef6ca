"""The soak, short: a key in two processes, a partition that heals, kill -9 of each, on real nodes in network namespaces."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.soak.__main__ import run
from deploy.soak.namespaces import missing


@pytest.mark.timeout(400)
def test_a_short_soak(tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    assert run(0, tmp_path, print) == []
