"""Tests that share a net or a chain stay in one process of a parallel run: the runner's groups are at work."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process runs all tests")
@pytest.mark.xdist_group("a-group")
def test_groups_are_at_work(request: pytest.FixtureRequest) -> None:
    """A pair of versions of pytest and pytest-xdist once spread every group over all processes, and said nothing."""
    if not request.config.getvalue("loadgroup"):
        pytest.skip("tests are not distributed by group")
    assert request.node.nodeid.endswith("@a-group")
