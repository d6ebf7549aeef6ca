"""What somebody writes to propose: a TOML or JSON file, or plain values, checked and made into a proposal. Asks no node.

Amounts are written in OMNIT. A parameter is a number in its unit, a ratio as ``7/8``; one that is an amount may be text with
OMNIT behind it.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from omnitensor.protocol import limits
from omnitensor.protocol.amounts import parse_omnit
from omnitensor.protocol.bodies import (
    AdmissionChange,
    Content,
    ParameterChange,
    ParameterChanges,
    Payment,
    ProposalSubmit,
    SoftwareUpgrade,
    TextOnly,
    TreasurySpend,
    UpgradeCancel,
)
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import CodecError
from omnitensor.protocol.json_depth import is_deep
from omnitensor.protocol.keys import parse_address
from omnitensor.protocol.parameter import Takes, Value
from omnitensor.protocol.parameter_rules import ParameterError, check_bounds
from omnitensor.protocol.params import DEFAULTS, SPECS
from omnitensor.protocol.types import Amount, Height, ParameterNumber
from omnitensor.sdk.errors import InputError

proposal_file_bytes_max: Final = 64 * limits.KIB
GUIDE: Final = "see docs/guides/governance.md"


class PaymentDraft(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A payment out of the reserve; the amount in OMNIT."""

    to: str
    amount: str


class UpgradeDraft(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From which block on which upgrade is needed, and what to install."""

    name: str
    version: str
    height: int


class ProposalDraft(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A proposal as somebody writes it; at most one of the things that it can do. The same names serve in a file."""

    title: str
    summary: str = ""
    deposit: str | None = None
    """OMNIT; without it the whole deposit, so that the vote begins at once."""
    parameters: dict[str, Any] = {}
    """New values by name: a number, text, or for a ratio two numbers."""
    spend: list[PaymentDraft] = []
    admit: list[str] = []
    dismiss: list[str] = []
    upgrade: UpgradeDraft | None = None
    cancel_upgrade: str | None = None

    def content(self) -> Content:
        """What the proposal does, every part checked as far as that goes without a node. Raises InputError, ParameterError."""
        given: dict[str, Content] = {}
        if self.parameters:
            given["parameters"] = ParameterChanges(
                tuple(parameter_change(name, value) for name, value in self.parameters.items())
            )
        if self.spend:
            given["spend"] = TreasurySpend(
                tuple(Payment(parse_address(each.to), parse_omnit(each.amount)) for each in self.spend)
            )
        if self.admit or self.dismiss:
            given["admit, dismiss"] = AdmissionChange(
                tuple(map(parse_address, self.admit)), tuple(map(parse_address, self.dismiss))
            )
        if self.upgrade is not None:
            upgrade = self.upgrade
            given["upgrade"] = SoftwareUpgrade(upgrade.name, upgrade.version, Height(upgrade.height))
        if self.cancel_upgrade is not None:
            given["cancel_upgrade"] = UpgradeCancel(self.cancel_upgrade)
        if len(given) > 1:
            raise InputError(
                "a proposal does one thing", value=", ".join(given), remedy="make a proposal of each"
            )
        return next(iter(given.values()), TextOnly())

    def body(self, deposit: int) -> ProposalSubmit:
        """The order, with a deposit in nanoOMNIT. Raises InputError naming what is wrong."""
        made = ProposalSubmit(self.title, self.summary, self.content(), Amount(deposit))
        try:
            return decode(ProposalSubmit, encode(made))
        except (CodecError, OverflowError) as error:
            raise InputError(f"the proposal is not valid: {error}", remedy=GUIDE) from error


def parameter_change(name: str, value: Any) -> ParameterChange:
    """A parameter's new value, held against its bounds. Raises ParameterError, InputError."""
    spec = SPECS.get(name)
    if spec is None:
        raise ParameterError(
            "there is no such parameter", value=name, remedy="list them with: otensor-cli governance params"
        )
    if spec.takes is Takes.GENESIS:
        raise ParameterError(
            f"{name} is fixed", value=value, remedy=f"no vote changes it: {spec.fixed_because}"
        )
    found = _value_of(name, value)
    check_bounds(name, found)
    if isinstance(found, tuple):
        return ParameterChange(name, ParameterNumber(found[0]), found[1])
    return ParameterChange(name, ParameterNumber(found))


def _value_of(name: str, value: Any) -> Value:
    is_ratio = isinstance(getattr(DEFAULTS, name), tuple)
    if isinstance(value, str):
        text = value.strip()
        above, slash, below = text.partition("/")
        if is_ratio and slash and _is_number(above) and _is_number(below):
            return int(above), int(below)
        if not is_ratio and text.upper().endswith("OMNIT") and SPECS[name].unit == "nanoOMNIT":
            return parse_omnit(text)
        if not is_ratio and _is_number(text):
            return int(text)
    elif isinstance(value, list):
        if is_ratio and len(value) == 2 and all(type(part) is int for part in value):
            return value[0], value[1]
    elif not is_ratio and type(value) is int:
        return value
    raise ParameterError(
        f"{name} is of another form",
        value=value,
        remedy="write it like 7/8" if is_ratio else f"write a whole number, its unit is {SPECS[name].unit}",
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def draft_from_file(path: str | Path) -> ProposalDraft:
    """The draft in a file, JSON where its name ends so, else TOML. Raises InputError naming the file, line or field."""
    path = Path(path)
    try:
        data = path.read_bytes()[: proposal_file_bytes_max + 1]
    except OSError as error:
        raise InputError(
            f"the proposal's file can't be read ({error.strerror})", value=path, remedy="check its name"
        ) from error
    if len(data) > proposal_file_bytes_max:
        raise InputError(
            "the proposal's file is too large", value=path, remedy=f"at most {proposal_file_bytes_max} bytes"
        )
    form = "JSON" if path.suffix.lower() == ".json" else "TOML"
    try:
        text = data.decode("utf-8")
        if form == "JSON" and is_deep(text, limits.json_depth_max):
            raise ValueError("it nests too deep")
        fields = json.loads(text) if form == "JSON" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"the proposal's file is no {form}: {error}", value=path, remedy="mend that line"
        ) from error
    return draft_from(fields, str(path))


def draft_from(fields: Any, where: str = "parameters") -> ProposalDraft:
    """The draft in plain values. Raises InputError naming the field."""
    try:
        return msgspec.convert(fields, ProposalDraft)
    except msgspec.ValidationError as error:
        raise InputError(f"the proposal in {where} is not valid: {error}", remedy=GUIDE) from error
