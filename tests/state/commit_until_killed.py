"""A child process of the crash test: commits blocks on a chain, saying each on its output, until somebody kills it."""

from __future__ import annotations

import sys
from pathlib import Path

from omnitensor.protocol.bodies import Transfer
from omnitensor.protocol.types import Amount
from state.chain import Chain
from tests.state.chain_fixtures import build, key, order


def main(folder: Path) -> None:
    chain = Chain.open(folder)
    names = [f"a{i}" for i in range(4)]
    while True:
        height = chain.head.height + 1
        orders = []
        for i, name in enumerate(names):
            nonce = chain.reader().account(key(name).address).nonce
            receiver = key(names[(i + height) % 4] if i + height & 1 else f"new{height}-{i}").address
            orders.append(
                order(key(name), nonce, Transfer(receiver, Amount(height)), valid_until=height + 100)
            )
        blocks = [build(chain, orders)]
        if height % 3 == 0:  # a path of two blocks in one batch
            blocks.append(build(chain, parent=blocks[0].hash, height=height + 1))
        print(f"committing {blocks[-1].header.height}", flush=True)
        chain.commit_path(blocks[-1].hash, None)
        print(f"committed {blocks[-1].header.height}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
