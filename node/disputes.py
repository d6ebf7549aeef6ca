"""What a developer needs to find out why a block that a quorum stands behind is invalid here, put into two files.

Written once, before the node stops voting or ends; judges nothing.
"""

import json
from pathlib import Path
from typing import Any, Final

import structlog

from consensus.stake.effects import Disputed
from node.version import version
from omnitensor.protocol.blocks import Header
from omnitensor.protocol.codec import encode
from omnitensor.protocol.disk import disk_fault
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.private_files import write_private
from omnitensor.protocol.types import Hash

FORMAT: Final = "omnitensor-disputed-block"
FORMAT_VERSION: Final = 1

log = structlog.get_logger("disputes")


class DisputeFolder:
    """A folder below the node's own. One block has one name, so a node that meets it at every start writes it over."""

    def __init__(self, folder: Path, chain_id: str, genesis_hash: Hash) -> None:
        self._folder = folder
        self._chain_id = chain_id
        self._genesis_hash = genesis_hash

    def save(self, disputed: Disputed, parent: Header | None, computed: Header | None) -> str:
        """A sentence that says where it is, or that it could not be written. Blocks on the disk.

        ``parent`` is the header of the block that it stands on, where that is known here; ``computed`` the one that execution
        gives here, None where it came to no end.
        """
        block = disputed.block
        name = f"{block.header.height}-{block.hash.hex()[:16]}"
        document = self._document(disputed, parent, computed) | {"block_file": f"{name}.block"}
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            write_private(self._folder / f"{name}.block", encode(block), replace=True)
            text = json.dumps(document, indent=2) + "\n"
            write_private(self._folder / f"{name}.json", text.encode(), replace=True)
        except (OSError, StorageError) as error:
            fault = disk_fault(error, self._folder) if isinstance(error, OSError) else error
            log.error("the block in dispute can't be saved", error=str(fault))
            return f"The block could not be saved ({fault.reason})"
        # Named from the node's folder on: strangers may read this over RPC.
        return f"Saved for the report in the node's folder: {self._folder.name}/{name}.json, and the block beside it"

    def _document(self, disputed: Disputed, parent: Header | None, computed: Header | None) -> dict[str, Any]:
        block = disputed.block
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "node_version": version(),
            "chain_id": self._chain_id,
            "genesis": self._genesis_hash.hex(),
            "height": block.header.height,
            "block": block.hash.hex(),
            "fault": disputed.fault,
            "differing_fields": differing(block.header, computed),
            "parent": block.header.parent.hex(),
            "parent_state_root": None if parent is None else parent.state_root.hex(),
            "header": _plain(block.header),
            "header_computed_here": None if computed is None else _plain(computed),
            "transactions": [transaction.id.hex() for transaction in block.transactions],
            "candidate": None if disputed.candidate is None else _plain(disputed.candidate),
            "certificate": None if disputed.certificate is None else _plain(disputed.certificate),
        }


def differing(given: Header, computed: Header | None) -> dict[str, dict[str, Any]]:
    """Every field that execution gives otherwise, with both values; none where it gave no header."""
    if computed is None:
        return {}
    return {
        name: {
            "in_the_block": _shown(getattr(given, name)),
            "computed_here": _shown(getattr(computed, name)),
        }
        for name in Header.__struct_fields__
        if getattr(given, name) != getattr(computed, name)
    }


def _plain(record: Any) -> dict[str, Any]:
    return {name: _shown(getattr(record, name)) for name in record.__struct_fields__}


def _shown(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value
