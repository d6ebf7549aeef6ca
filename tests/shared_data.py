"""Finds the shared folder of vectors, labels and samples. Knows nothing of what the tests make of it.

The folder is `$OMNITENSOR_SHARED` where that is set, else `shared` beside the checkout. A test that needs it
and does not find it skips, saying where it looked.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

_REPOSITORY = Path(__file__).resolve().parent.parent


def shared_dir() -> Path:
    """The shared folder's path, whether or not it exists."""
    named = os.environ.get("OMNITENSOR_SHARED")
    return Path(named) if named else _REPOSITORY.parent / "shared"


def shared_path(relative: str) -> Path:
    """The path of a shared file or folder; skips the calling test (or module) where it is absent."""
    path = shared_dir() / relative
    if not path.exists():
        pytest.skip(
            f"needs {relative} of the shared folder, absent at {path} (OMNITENSOR_SHARED names the folder)",
            allow_module_level=True,
        )
    return path


def shared_json(relative: str) -> Any:
    """A shared JSON file, parsed; skips where it is absent."""
    return json.loads(shared_path(relative).read_text(encoding="utf-8"))
