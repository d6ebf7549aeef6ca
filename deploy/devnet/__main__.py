"""``python -m deploy.devnet``: runs the devnet's story, then serves until Ctrl-C. Exit code 0 when all went well, 1 when not."""

import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click

from deploy.devnet.ports import FIRST_PORT
from deploy.devnet.process import DevnetError
from deploy.devnet.story import Story
from deploy.devnet.teller import Teller
from omnitensor.protocol.errors import ProtocolError

INTERRUPTED = 130


@click.command()
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to put everything; it must not exist. A temporary folder by default, removed at the end.",
)
@click.option(
    "--ports", default=str(FIRST_PORT), show_default=True, help="First of ten ports, or auto for free ones."
)
@click.option("--once", is_flag=True, help="End after the story instead of serving until Ctrl-C.")
def main(folder: Path | None, ports: str, once: bool) -> None:
    """Runs four validators on this machine and shows data being submitted, judged and paid."""
    signal.signal(signal.SIGTERM, _interrupt)
    teller = Teller()
    try:
        first_port = _first_port(ports)
        place = _make_folder(folder)
    except DevnetError as error:
        teller.failure(str(error))
        sys.exit(1)
    story = Story(place, teller, first_port)
    code = _tell(story, teller, once)
    if code == 0 or code == INTERRUPTED:
        if folder is None:
            shutil.rmtree(place, ignore_errors=True)
    else:
        teller.say(f"logs and data are kept in {place}")
    sys.exit(code)


def _tell(story: Story, teller: Teller, once: bool) -> int:
    code = 0
    try:
        story.run()
        if not once:
            teller.chapter("Serving. Ctrl-C stops everything.")
            while True:
                time.sleep(1)
                story.check()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except (ProtocolError, OSError) as error:
        # In full: a DevnetError carries the end of the log of what failed.
        teller.failure(getattr(error, "reason", None) or str(error))
        _say_rest(error, teller)
        code = 1
    try:
        with _deaf(), teller.work("everything stopped in good order"):
            story.stop()
    except ProtocolError as error:
        teller.failure(str(error))
        code = 1
    return code


def _say_rest(error: BaseException, teller: Teller) -> None:
    if isinstance(error, ProtocolError):
        for part in (error.value, error.remedy):
            if part:
                teller.block(part)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Ctrl-C again while stopping changes nothing: the nodes are stopping already."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _first_port(ports: str) -> int | None:
    if ports == "auto":
        return None
    if not ports.isdigit() or not 1024 <= int(ports) <= 65_000:
        raise DevnetError("not a port", value=ports, remedy="give a number from 1024 to 65000, or auto")
    return int(ports)


def _make_folder(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="omnitensor-devnet-"))
    if folder.exists():
        raise DevnetError(
            "the folder exists",
            value=folder,
            remedy="a devnet begins anew each time: remove it, or name another",
        )
    folder.mkdir(parents=True, mode=0o700)
    return folder


if __name__ == "__main__":
    main()
