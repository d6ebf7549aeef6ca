"""What proposals do when they are executed, each whole or not at all: all of it is judged before anything is written."""

from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import (
    AdmissionChange,
    Content,
    ParameterChanges,
    SoftwareUpgrade,
    TreasurySpend,
    UpgradeCancel,
)
from omnitensor.protocol.epochs import boundary_of
from omnitensor.protocol.parameter import Takes, Value
from omnitensor.protocol.parameter_rules import ParameterError
from omnitensor.protocol.params import SPECS, Params
from omnitensor.protocol.types import Height, ProposalId
from state.ledger import admission, parameters, upgrades
from state.ledger.accounts import Pot, move, pot
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.transfers import check_recipient
from state.ledger.view import ReadView, View
from state.records_governance import ParameterOrigin
from state.schema import PARAMETER_ORIGINS


def check(view: ReadView, ctx: BlockContext, content: Content) -> None:
    """Raises Rejected where a proposal's content could not be executed in this block."""
    match content:
        case ParameterChanges():
            _parameters_after(view, ctx, content)
        case TreasurySpend():
            _check_spend(view, content)
        case AdmissionChange():
            _check_admission(content)
        case SoftwareUpgrade():
            fault = upgrades.fault_of_plan(view, ctx.height, content.name, content.height)
            if fault is not None:
                raise Rejected(
                    "upgrade", fault, value=content.name, remedy="choose another name, or a later height"
                )
        case UpgradeCancel():
            if upgrades.planned_at(view, ctx.height, content.name) is None:
                raise Rejected("upgrade", "no such upgrade is planned", value=content.name)


def enact(view: View, ctx: BlockContext, number: ProposalId, content: Content) -> tuple[Event, ...]:
    """Carries a proposal out; says who was paid. Raises Rejected, with nothing changed, where that is not possible any more."""
    check(view, ctx, content)
    match content:
        case ParameterChanges():
            _change(view, ctx, number, content)
        case TreasurySpend():
            return _pay(view, number, content)
        case AdmissionChange():
            for address in content.admit:
                admission.admit(view, address)
            for address in content.dismiss:
                admission.dismiss(view, address)
        case SoftwareUpgrade():
            upgrades.plan(view, content.name, content.version, content.height, number)
        case UpgradeCancel():
            at = upgrades.planned_at(view, ctx.height, content.name)
            assert at is not None, "it was checked"
            upgrades.cancel(view, at)
    return ()


def _pay(view: View, number: ProposalId, content: TreasurySpend) -> tuple[Event, ...]:
    for payment in content.payments:
        move(view, Pot.RESERVE, payment.to, payment.amount)
    return tuple(
        event("treasury.paid", proposal=number, to=payment.to, amount=payment.amount)
        for payment in content.payments
    )


def _parameters_after(view: ReadView, ctx: BlockContext, content: ParameterChanges) -> tuple[Params, Params]:
    changes: dict[str, Value] = {}
    for change in content.changes:
        if change.name in changes:
            raise Rejected("parameter", "a parameter stands twice", value=change.name, remedy="give it once")
        changes[change.name] = change.given
    now = parameters.above(view, ctx)
    try:
        return parameters.changed(now, parameters.next_epoch(view, now), changes)
    except ParameterError as error:
        raise Rejected("parameter", error.reason, value=error.value, remedy=error.remedy) from error


def _change(view: View, ctx: BlockContext, number: ProposalId, content: ParameterChanges) -> None:
    now, later = _parameters_after(view, ctx, content)
    parameters.put(view, now, later)
    for change in content.changes:
        at_once = SPECS[change.name].takes is Takes.BLOCK
        begins = ctx.height if at_once else boundary_of(ctx.epoch, ctx.params)
        origin = ParameterOrigin(number, ctx.height, Height(begins + 1))
        view.put(PARAMETER_ORIGINS, origin, change.name.encode())


def _check_spend(view: ReadView, content: TreasurySpend) -> None:
    for payment in content.payments:
        check_recipient(payment.to)
        if payment.amount == 0:
            raise Rejected("amount", "a payment of nothing", value=0, remedy="give an amount above zero")
    total, there = sum(payment.amount for payment in content.payments), pot(view, Pot.RESERVE)
    if total > there:
        raise Rejected(
            "reserve",
            f"the reserve has {format_omnit(there)}",
            value=format_omnit(total),
            remedy="propose to spend less",
        )


def _check_admission(content: AdmissionChange) -> None:
    named = [*content.admit, *content.dismiss]
    if not named:
        raise Rejected("admission", "no account is admitted or dismissed", remedy="name one at least")
    for address in named:
        check_recipient(address)
        if named.count(address) > 1:
            raise Rejected("admission", "an account stands twice", value=address, remedy="give it once")
