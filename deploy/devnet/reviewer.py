"""A reviewer: one process for one validator, with nothing but an API key in a file, its node's address, and its own judgement.

    python -m deploy.devnet.reviewer --api-key-file FILE --endpoint http://127.0.0.1:9644 --seed 1

Signs with the API key alone; the account's own key stays elsewhere.
"""

import signal
import sys
import time
from pathlib import Path
from types import FrameType

import click

from deploy.devnet.scorers import Scorer
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.private_files import read_private
from omnitensor.sdk import ReviewMoment, Validator


@click.command()
@click.option(
    "--api-key-file", type=click.Path(path_type=Path), required=True, help="File with an otk1... key."
)
@click.option("--endpoint", required=True, help="The node to ask.")
@click.option("--seed", type=int, default=0, help="What this reviewer learns from differs by it.")
def main(api_key_file: Path, endpoint: str, seed: int) -> None:
    """Reviews whatever its validator is drawn for, until it is stopped."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        api_key = read_private(api_key_file).decode("ascii", "replace").strip()
        with Validator(api_key=api_key, endpoint=endpoint, scorer=Scorer(seed)) as validator:
            _log(f"reviews with {endpoint}")
            validator.review_loop(watch=_tell)
    except ProtocolError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


def _stop(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _tell(moment: ReviewMoment) -> None:
    _log(f"{moment.kind}: {moment.text} (batch {moment.batch}, campaign {moment.campaign})")


def _log(text: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {text}")


if __name__ == "__main__":
    main()
