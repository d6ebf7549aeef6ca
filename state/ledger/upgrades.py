"""Agreed heights from which blocks need newer software, and whether this software is new enough. Decides nothing by vote."""

from typing import Final

from omnitensor.protocol import limits
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.types import Height, ProposalId
from state.ledger.view import ReadView, View
from state.records_governance import PlannedUpgrade
from state.schema import UPGRADES, number

KNOWN: Final[frozenset[str]] = frozenset()
"""Names of the upgrades whose rules this software has. A release that brings new rules adds its name, and asks ``is_active``."""


class UpgradeError(ProtocolError):
    """The chain goes on with newer software only."""

    code = "upgrade"


def is_active(view: ReadView, name: str, height: Height) -> bool:
    """Whether the rules of an upgrade hold in the block at a height."""
    return any(number(key) <= height and row.name == name for key, row in view.scan(UPGRADES))


def missing(view: ReadView, height: Height) -> tuple[Height, PlannedUpgrade] | None:
    """The first upgrade that a block at a height needs and this software does not know; None where it knows all."""
    for key, row in view.scan(UPGRADES):
        if number(key) > height:
            return None
        if row.name not in KNOWN:
            return Height(number(key)), row
    return None


def check_known(view: ReadView, height: Height) -> None:
    """Raises UpgradeError where a block at a height needs an upgrade that this software does not know."""
    found = missing(view, height)
    if found is not None:
        at, row = found
        raise UpgradeError(
            f"the chain goes on at height {at} with an upgrade that this software does not know",
            value=row.name,
            remedy=f"install OmniTensor {row.version} and start the node again; it goes on where it stopped",
        )


def fault_of_plan(view: ReadView, height: Height, name: str, at: Height) -> str | None:
    """Why an upgrade can't be planned in a block for another height, or None."""
    planned = list(view.scan(UPGRADES))
    if at <= height:
        return f"the height {at} has come"
    if any(row.name == name for _, row in planned):
        return f"an upgrade named {name} was planned before"
    if any(number(key) == at for key, _ in planned):
        return f"another upgrade is planned for height {at}"
    if sum(number(key) > height for key, _ in planned) >= limits.upgrades_planned_max:
        return "as many upgrades are planned as may be"
    return None


def plan(view: View, name: str, version: str, at: Height, proposal: ProposalId) -> None:
    """Plans an upgrade that can be (``fault_of_plan``)."""
    view.put(UPGRADES, PlannedUpgrade(name, version, proposal), at)


def planned_at(view: ReadView, height: Height, name: str) -> Height | None:
    """For which height above this one an upgrade is planned, if it is."""
    for key, row in view.scan(UPGRADES, start=(height + 1).to_bytes(8, "big")):
        if row.name == name:
            return Height(number(key))
    return None


def cancel(view: View, at: Height) -> None:
    view.delete(UPGRADES, at)
