"""The parameters in force, and those of the next epoch: where they stand in the state, and how a change takes effect.

Knows nothing of votes. What a parameter is, its bounds and when a change counts stand in ``omnitensor.protocol.params``.
"""

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.epochs import is_boundary
from omnitensor.protocol.parameter import Takes, Value
from omnitensor.protocol.parameter_rules import ParameterError, check_params
from omnitensor.protocol.params import SPECS, Params
from state.ledger.context import BlockContext
from state.ledger.events import event
from state.ledger.view import ReadView, View
from state.schema import PARAMS

IN_FORCE: Final = b""
NEXT_EPOCH: Final = b"next"


def above(view: ReadView, ctx: BlockContext) -> Params:
    """What is in force in the block above this one; on a bare ledger, which has no such row, what this block was given."""
    return view.get(PARAMS, IN_FORCE) or ctx.params


def next_epoch(view: ReadView, now: Params) -> Params:
    """What comes into force with the next epoch, as far as it is known; ``now`` is what is in force."""
    return view.get(PARAMS, NEXT_EPOCH) or now


def changed(now: Params, later: Params, changes: Mapping[str, Value]) -> tuple[Params, Params]:
    """What is in force and what the next epoch brings, after changes. Raises ParameterError where a chain can't live with it."""
    at_once: dict[str, Value] = {}
    for name, value in changes.items():
        spec = SPECS.get(name)
        if spec is None:
            raise ParameterError(
                "there is no such parameter",
                value=name,
                remedy="list them with: otensor-cli governance params",
            )
        if type(value) is not type(getattr(now, name)):
            raise ParameterError(
                f"{name} is of another form", value=value, remedy="a ratio is two numbers, all others are one"
            )
        if spec.takes is Takes.GENESIS:
            raise ParameterError(
                f"{name} is fixed", value=value, remedy=f"no vote changes it: {spec.fixed_because}"
            )
        _check_step(name, getattr(later, name), value)
        if spec.takes is Takes.BLOCK:
            at_once[name] = value
    now, later = replace(now, **at_once), replace(later, **changes)
    check_params(now)
    check_params(later)
    return now, later


def _check_step(name: str, before: Value, value: Value) -> None:
    step = SPECS[name].step
    if not step or not isinstance(before, int) or not isinstance(value, int):
        return
    least, most = -(-before // step), before * step
    if not least <= value <= most:
        raise ParameterError(
            f"{name} moves too far at once",
            value=value,
            remedy=f"from {least} to {most}; further with another vote",
        )


def put(view: View, now: Params, later: Params) -> None:
    """Writes what is in force from the next block on, and what comes with the next epoch."""
    view.put(PARAMS, now, IN_FORCE)
    if later == now:
        view.delete(PARAMS, NEXT_EPOCH)
    else:
        view.put(PARAMS, later, NEXT_EPOCH)


def turn(view: View, ctx: BlockContext) -> tuple[Event, ...]:
    """At the end of a boundary block: what waits for the next epoch comes into force."""
    if not is_boundary(ctx.height, ctx.params):
        return ()
    waiting = view.get(PARAMS, NEXT_EPOCH)
    if waiting is None:
        return ()
    put(view, waiting, waiting)
    return (event("parameters.in_force", epoch=ctx.epoch + 1),)
