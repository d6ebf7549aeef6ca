"""Fixtures of the command line's tests: the small chain of the SDK's, and people who type commands."""

from __future__ import annotations

from tests.sdk.conftest import _quiet_logs, chain, home, wallet

__all__ = ["_quiet_logs", "chain", "home", "wallet"]
