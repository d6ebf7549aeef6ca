"""The user's folder: which node, which account, and work that is under way. Knows files; nothing of the chain.

``$OMNITENSOR_HOME`` or ``~/.omnitensor``. Folders are 0700, files 0600 and written whole or not at all.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.limits import MIB
from omnitensor.protocol.private_files import read_private, write_private
from omnitensor.sdk.errors import BusyError
from omnitensor.sdk.transport import DEFAULT_ENDPOINT

T = TypeVar("T")

work_bytes_max: Final = 4 * MIB
"""One file of work under way: a submission of 256 files with its signed transactions, several times over."""


class Profile(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `login` remembers. The chain is that of the first node that answered; another one is refused."""

    endpoint: str = ""
    account: str = ""
    protected: bool = True
    """Whether a passphrase opens the keystore; otherwise only the file's mode guards it."""
    chain_id: str = ""
    genesis_hash: str = ""


class Home:
    """The folder. Creating the object touches nothing; the first write makes the folder."""

    def __init__(self, folder: str | Path | None = None) -> None:
        given = folder or os.environ.get("OMNITENSOR_HOME") or Path.home() / ".omnitensor"
        self.folder: Final = Path(given).expanduser()

    @property
    def keystore(self) -> Path:
        return self.folder / "keystore.json"

    @property
    def _profile(self) -> Path:
        return self.folder / "profile.json"

    def profile(self) -> Profile:
        """What was saved, or defaults. Raises StorageError where the file is damaged."""
        return self.read(self._profile, Profile) or Profile()

    def save_profile(self, profile: Profile) -> None:
        self.write(self._profile, profile)

    def remove_profile(self) -> None:
        """Forget the account: keystore and profile."""
        self.keystore.unlink(missing_ok=True)
        self._profile.unlink(missing_ok=True)

    def work(self, *parts: str) -> Path:
        """A path of work under way; folders are made."""
        path = self.folder.joinpath("work", *parts)
        self.ensure(path.parent)
        return path

    def ensure(self, folder: Path) -> None:
        """Make a folder for its owner alone. Raises StorageError."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"a folder can't be made ({error.strerror})",
                value=folder,
                remedy="set OMNITENSOR_HOME, or --home, to a folder that you may write",
            ) from error

    def write(self, path: Path, value: object) -> None:
        """Put a value on disk, durably, before going on."""
        self.ensure(path.parent)
        write_private(path, msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n", replace=True)

    def read(self, path: Path, kind: type[T], bytes_max: int = work_bytes_max) -> T | None:
        """The value in a file, None where there is none. Raises StorageError naming the file."""
        if not path.exists():
            return None
        data = read_private(path, bytes_max)
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise StorageError(
                f"a file of this folder can't be read: {error}",
                value=path,
                remedy="move it away; nothing on chain depends on it",
            ) from error

    @contextmanager
    def locked(self, path: Path) -> Iterator[None]:
        """Hold a piece of work: another process that wants it gets BusyError at once."""
        self.ensure(path.parent)
        with (path.parent / f".{path.name}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BusyError(
                    "another process is at the same work",
                    value=path.name,
                    remedy="wait until it has finished",
                ) from error
            yield


def choose_endpoint(given: str | None, home: Home) -> str:
    """The node to ask: what was given, OMNITENSOR_RPC, the profile's, or the local one."""
    return given or os.environ.get("OMNITENSOR_RPC") or home.profile().endpoint or DEFAULT_ENDPOINT
