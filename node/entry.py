"""Entry point of ``omnitensor-node``: says what to install where only the SDK's dependencies are there. Does nothing else."""

import sys


def main() -> None:
    try:
        from node.cli import main as run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("node", "state", "consensus", "rpc", "p2p"):
            raise
        print(
            f"error: a node needs the package {error.name} (install it with: pip install 'omnitensor[node]')",
            file=sys.stderr,
        )
        sys.exit(1)
    run()
