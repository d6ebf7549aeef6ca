"""A person at a terminal: runs `otensor-cli` with a folder and a node of their own. Knows no key but by its file's content."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, Final

from deploy.devnet import process
from deploy.devnet.process import DevnetError

CLI_SECONDS_MAX: Final = 300.0

Show = Callable[[str], None]
"""Called with each command line as a person would type it, secrets left out."""


class Person:
    """Somebody with a folder for `otensor-cli`, asking one node."""

    def __init__(self, name: str, folder: Path, endpoint: str, show: Show | None = None) -> None:
        self.name: Final = name
        self.folder: Final = folder
        self.endpoint = endpoint
        self._show: Final = show

    @property
    def variables(self) -> dict[str, str]:
        """Environment that a program of this person's runs in."""
        # Nobody is there to type a passphrase: the keystore's file mode guards it, as the command says.
        return {"OMNITENSOR_HOME": str(self.folder), "OMNITENSOR_RPC": self.endpoint, "NO_COLOR": "1"}

    def try_cli(
        self, *arguments: str, given: str = "", timeout_s: float = CLI_SECONDS_MAX
    ) -> CompletedProcess[str]:
        """Runs a command, whatever comes of it."""
        return process.run(process.CLI, *arguments, extra=self.variables, given=given, timeout_s=timeout_s)

    def cli(self, *arguments: str, secret: str = "", shown: str = "", given: str = "") -> str:
        """Output of a command that must succeed. ``secret`` is not shown, and ``shown`` stands in for it."""
        if self._show is not None:
            typed = [shown if secret and part == secret else shlex.quote(part) for part in arguments]
            self._show(f"otensor-cli {' '.join(typed)}")
        done = self.try_cli(*arguments, given=given)
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip()).replace(secret or "\0", shown)
            raise DevnetError(
                f"{self.name}'s otensor-cli {arguments[0]} ended with code {done.returncode}: {said}"
            )
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """What a command prints with --json."""
        return json.loads(self.cli(*arguments, "--json"))
