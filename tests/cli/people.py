"""Somebody at a terminal: runs commands in this process, or as a real program, with a folder of their own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from omnitensor.cli.main import run
from omnitensor.protocol.keys import format_secret
from tests.state.chain_fixtures import key


@dataclass
class Said:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Person:
    """A folder, a node, and what is typed. `program` runs the installed program; `type` the same code in this process."""

    folder: Path
    endpoint: str = ""
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OMNITENSOR_")}
        own = {"OMNITENSOR_HOME": str(self.folder), "NO_COLOR": "1", **self.variables}
        return kept | own | ({"OMNITENSOR_RPC": self.endpoint} if self.endpoint else {})

    def type(self, *arguments: str, given: str = "") -> Said:
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self.environment, clear=True),
            mock.patch("sys.stdin", io.StringIO(given)),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = run(arguments)
        return Said(code, out.getvalue(), err.getvalue())

    def must(self, *arguments: str, given: str = "") -> Said:
        said = self.type(*arguments, given=given)
        assert said.code == 0, (arguments, said)
        return said

    def program(self, *arguments: str, given: str = "") -> Said:
        done = subprocess.run(
            [sys.executable, "-m", "omnitensor.cli.main", *arguments],
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=600,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def log_in(self, name: str) -> Person:
        self.must("login", "--key", format_secret(key(name)))
        return self
