"""Who plays in a devnet besides the nodes: reviewers with API keys of their own, a sponsor, a contributor.

Everything they do goes through `otensor-cli` and the SDK, as anybody's would.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from deploy.devnet import process
from deploy.devnet.campaigns import Wish
from deploy.devnet.net import Net, Node
from deploy.devnet.people import Person, Show
from deploy.devnet.process import DevnetError, Program
from omnitensor.protocol.keys import format_secret

SECRET_SHOWN: Final = "<your_private_key>"


def log_in(net: Net, name: str, node: Node, show: Show | None = None) -> Person:
    """A person who is logged in with the key of a name in the net's genesis."""
    person = Person(name, net.folder / "people" / name, node.endpoint, show)
    secret = format_secret(net.accounts[name])
    person.cli("login", "--key", secret, secret=secret, shown=SECRET_SHOWN)
    return person


def make_api_key(net: Net, node: Node, show: Show | None = None) -> Path:
    """An API key for reviewing, of a validator's account, in a file for its owner alone."""
    person = log_in(net, node.name, node)
    path = person.folder / "api-key"
    if show is not None:
        show(f"otensor-cli api-key create --scope review --out {path}")
    person.cli("api-key", "create", "--scope", "review", "--out", str(path))
    return path


def start_reviewer(net: Net, node: Node, api_key: Path, seed: int) -> Program:
    """A process that reviews for one validator with an API key, asking that validator's node."""
    line = process.command(
        "deploy.devnet.reviewer",
        *("--api-key-file", str(api_key)),
        *("--endpoint", node.endpoint),
        *("--seed", str(seed)),
    )
    home = {"OMNITENSOR_HOME": str(net.folder / "reviewers" / node.name)}
    reviewer = Program(
        f"reviewer of {node.name}", line, net.folder / "logs" / f"reviewer-{node.name}.log", home
    )
    reviewer.start()
    return reviewer


def open_campaign(sponsor: Person, wish: Wish, path: Path) -> int:
    """Opens a campaign from a TOML file; its number."""
    opened: dict[str, Any] = sponsor.json("campaign", "open", "--yes", "--from", str(wish.write(path)))
    return int(opened["campaign"])


def check_reviewers(reviewers: Sequence[Program]) -> None:
    """Raises DevnetError, with the end of its log, where a reviewer has ended by itself."""
    for reviewer in reviewers:
        if reviewer.exit_code is not None:
            raise DevnetError(
                f"the {reviewer.name} ended with code {reviewer.exit_code}; the end of {reviewer.log}:\n{reviewer.tail()}"
            )
