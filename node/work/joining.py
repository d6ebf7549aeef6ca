"""Makes an account a worker, once: with its own key and a bond the node registers its own consensus key. Sends nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from node.keys import NodeKeys
from node.work.hand import Hand
from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.bodies.work import WorkerRegister
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.types import Address, Amount
from state.ledger.accounts import account
from state.reader import Reader
from state.schema import WORKERS

LOOK_SECONDS: Final = 0.5

log = structlog.get_logger("worker")


async def join(hand: Hand, keys: NodeKeys, bond: Amount, reader: Callable[[], Reader]) -> None:
    """Returns when the account is a worker, with whatever consensus key; waits, saying why, while it can't become one."""
    said, sent = "", None
    while True:
        now, address = reader(), hand.address()
        row = None if address is None else now.get(WORKERS, address)
        if row is not None:
            if row.consensus_key != keys.consensus_public:
                log.warning(
                    "the account works with another node's consensus key: it earns here, and leads there",
                    remedy="otensor-cli worker edit, to lead with this one",
                )
            return
        if sent is None or not hand.is_under_way(sent):
            wanted = Amount(max(bond, now.params().worker_bond_min))
            reason = _obstacle(hand, address, now, wanted)
            if reason and reason != said:
                log.error("not a worker yet", reason=reason)
            said = reason
            if not reason:
                proof = keys.public().proof_of_possession
                sent = await hand.send(WorkerRegister(wanted, keys.consensus_public, proof))
        await asyncio.sleep(LOOK_SECONDS)


def _obstacle(hand: Hand, address: Address | None, reader: Reader, bond: Amount) -> str:
    """Why an account can't be registered now; empty where it can."""
    if address is None:
        return "the session key can't sign for an account"
    if not hand.is_own:
        return "the account is no worker, and a session key can't register one: otensor-cli worker register"
    held = account(reader, address).balance
    if held <= bond:
        return (
            f"{format_address(address)} has {format_omnit(held)}; a worker's bond is {format_omnit(bond)}, and"
            " its orders cost fees"
        )
    return ""
