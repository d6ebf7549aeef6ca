"""The replay of blocks on a state of a million accounts: every transfer goes to one that was not touched before.

So rows and pages come from disk, and half of what a block changes is spread over the whole trie.
"""

from typing import Final

from benchmarks import replay

OTHERS = 1_000_000
_NAMES: Final = (
    "replay_share_of_ed25519",
    "replay_transfers_per_second",
    "delegations_replay_share_of_ed25519",
    "mixed_replay_share_of_ed25519",
)


def measure() -> dict[str, float]:
    """Replays the blocks of ``benchmarks.replay`` with ``OTHERS`` accounts more: of transfers, delegations, and mixed ones."""
    found = replay.replayed(OTHERS, tuple(replay.KINDS))
    return {f"{name}_1m": found[name] for name in _NAMES}


if __name__ == "__main__":
    for name, value in measure().items():
        print(f"{name:32} {value}")
