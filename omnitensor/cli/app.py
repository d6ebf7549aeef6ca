"""What every command shares: options, the user's folder, the unlocked key, a client, and how a failure ends.

Exit status: 0 done, 1 refused or failed, 2 what was given can't be used, 3 no node answered, 130 interrupted.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from omnitensor.light import Checkpoint, CheckpointError
from omnitensor.protocol.amounts import AmountError
from omnitensor.protocol.errors import KeyFormatError, ProtocolError
from omnitensor.protocol.keystore import WrongPasswordError
from omnitensor.protocol.private_files import read_private
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.errors import ConnectionFailed, InputError
from omnitensor.sdk.home import Home, Profile
from omnitensor.sdk.reads import ChainIdentity
from omnitensor.sdk.wallet import Wallet

T = TypeVar("T")

PROGRAM: Final = "otensor-cli"
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_NO_CONNECTION: Final = 3
EXIT_INTERRUPTED: Final = 130
PASSPHRASE_FILE: Final = "OMNITENSOR_PASSPHRASE_FILE"
secret_bytes_max: Final = 4_096


class App:
    """The state of one run of the program."""

    def __init__(self) -> None:
        self.home_given: Path | None = None
        self.endpoint: str | None = None
        self.as_json = False
        self.passphrase_file: Path | None = None

    @property
    def home(self) -> Home:
        return Home(self.home_given)

    def run(
        self,
        work: Callable[[AsyncClient], Coroutine[Any, Any, T]],
        *,
        pinned: bool = True,
        checkpoint: Checkpoint | None = None,
        trust_period_s: float | None = None,
    ) -> T:
        """What `work` returns, with a client that is closed afterwards. With `pinned`, a node of another chain is refused."""

        async def main() -> T:
            async with AsyncClient(
                self.endpoint,
                chain=self._chain() if pinned else None,
                checkpoint=checkpoint,
                trust_period_s=trust_period_s,
                home=self.home,
            ) as client:
                found = await work(client)
                await self._pin(client)
                return found

        return asyncio.run(main())

    def _chain(self) -> ChainIdentity | None:
        profile = self.home.profile()
        return ChainIdentity(profile.chain_id, profile.genesis_hash) if profile.chain_id else None

    async def _pin(self, client: AsyncClient) -> None:
        """Remember the chain of the first node that this account met."""
        profile = self.home.profile()
        if profile.account and not profile.chain_id:
            identity = await client.identity()
            self.home.save_profile(
                Profile(
                    profile.endpoint,
                    profile.account,
                    profile.protected,
                    identity.chain_id,
                    identity.genesis_hash,
                )
            )

    def account(self) -> str:
        """The address logged in with. Raises InputError."""
        account = self.home.profile().account
        if not account:
            raise InputError(
                "nobody is logged in", value=self.home.folder, remedy=f"run {PROGRAM} login first"
            )
        return account

    def wallet(self) -> Wallet:
        """The wallet logged in with, its passphrase asked for where it has one. Raises InputError or KeystoreError."""
        self.account()
        password = self.passphrase("Passphrase: ") if self.home.profile().protected else ""
        return Wallet.from_keystore(self.home.keystore, password)

    def passphrase(self, prompt: str) -> str:
        """The passphrase from its file, or from the terminal. Raises InputError where there is neither."""
        if (found := self.passphrase_from_file()) is not None:
            return found
        if not is_terminal():
            raise InputError(
                "the keystore has a passphrase, and there is no terminal to ask for it",
                remedy=f"name a file that holds it with --passphrase-file or {PASSPHRASE_FILE}",
            )
        asked: str = click.prompt(
            prompt, prompt_suffix="", hide_input=True, err=True, default="", show_default=False
        )
        return asked

    def passphrase_from_file(self) -> str | None:
        """The passphrase in the file that was named; None where none was."""
        path = self.passphrase_file or (Path(named) if (named := os.environ.get(PASSPHRASE_FILE)) else None)
        return read_secret_file(path) if path is not None else None


def read_secret_file(path: Path) -> str:
    """The secret in a file, without its line's end. A regular file must be its owner's alone. Raises StorageError."""
    if path.is_file():
        data = read_private(path, secret_bytes_max)
    else:
        try:
            with path.open("rb") as file:  # a pipe, as of <(...)
                data = file.read(secret_bytes_max)
        except OSError as error:
            raise InputError(
                f"the file can't be read ({error.strerror})", value=path, remedy="check its name"
            ) from error
    return data.decode("utf-8", "strict").rstrip("\r\n")


def read_secret_input() -> str:
    """The secret on standard input."""
    return sys.stdin.read(secret_bytes_max).strip()


def is_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _set_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        app_of(ctx).as_json = True


def _set_endpoint(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        app_of(ctx).endpoint = value


def _set_home(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        app_of(ctx).home_given = value


def _set_passphrase_file(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        app_of(ctx).passphrase_file = value


def app_of(ctx: click.Context) -> App:
    """The state of this run, made at the root."""
    found = ctx.find_root().ensure_object(App)
    assert isinstance(found, App)
    return found


def common_options() -> list[click.Option]:
    """Options that stand before or behind any command."""
    path = click.Path(path_type=Path)
    return [
        click.Option(
            ["--json"], is_flag=True, expose_value=False, callback=_set_json, help="Print one JSON object."
        ),
        click.Option(
            ["--endpoint"],
            metavar="URL",
            expose_value=False,
            callback=_set_endpoint,
            help="The node to ask  [default: $OMNITENSOR_RPC, the one logged in with, or the local one]",
        ),
        click.Option(
            ["--home"],
            type=path,
            metavar="FOLDER",
            expose_value=False,
            callback=_set_home,
            help="Keystore and work under way  [default: $OMNITENSOR_HOME or ~/.omnitensor]",
        ),
        click.Option(
            ["--passphrase-file"],
            type=path,
            metavar="FILE",
            expose_value=False,
            callback=_set_passphrase_file,
            help=f"File with the keystore's passphrase  [default: ${PASSPHRASE_FILE}, else a prompt]",
        ),
    ]


class Command(click.Command):
    """A command with the common options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += common_options()


class Group(click.Group):
    """A group of such commands."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += common_options()


Group.group_class = Group
pass_app = click.make_pass_decorator(App)


def exit_code(error: BaseException) -> int:
    """The exit status that an error ends the program with."""
    if isinstance(error, ConnectionFailed):
        return EXIT_NO_CONNECTION
    if isinstance(error, WrongPasswordError):
        return EXIT_FAILED
    if isinstance(error, InputError | KeyFormatError | AmountError | CheckpointError | click.UsageError):
        return EXIT_USAGE
    return EXIT_FAILED


def error_fields(error: ProtocolError | click.ClickException) -> dict[str, str]:
    """An error's parts, for JSON."""
    if isinstance(error, ProtocolError):
        return {"code": error.code, "reason": error.reason, "value": error.value, "remedy": error.remedy}
    hint = f"see {PROGRAM} --help"
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"see {error.ctx.command_path} --help"
    return {"code": "usage", "reason": without_secrets(error.format_message()), "value": "", "remedy": hint}


_SECRET_LIKE: Final = re.compile(r"\b(0[xX])?[0-9a-fA-F]{64}\b|\b(omsk|otk)1\w+", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """A message of the argument parser, which repeats what it was given, without what may be a key."""
    return " ".join(_SECRET_LIKE.sub("<hidden>", text).split())
