"""The beginning of a chain: who owns what, who validates, under which parameters. Read from ``genesis.json``, strictly.

Knows no database. What it says is bound by the genesis block's hash: accounts, validators and parameters are rows of the state
under its root, chain id and time stand in its header.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from omnitensor.protocol import bls, limits, merkle
from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.blocks import (
    GENESIS_EPOCH,
    HEADER_VERSION,
    Block,
    BlockResult,
    Header,
    receipts_root,
    transactions_root,
)
from omnitensor.protocol.bodies import ValidatorRegister
from omnitensor.protocol.codec import Record, encode
from omnitensor.protocol.errors import KeyFormatError, ProtocolError
from omnitensor.protocol.json_depth import is_deep
from omnitensor.protocol.keys import format_address, has_known_version, parse_address
from omnitensor.protocol.parameter_rules import check_genesis_params, params_from
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import (
    ADDRESS_BYTES,
    SUPPLY_MAX,
    ZERO_HASH,
    Address,
    AddressF,
    Amount,
    AmountF,
    BlsPublicKeyF,
    BlsSignatureF,
    Bps,
    Hash,
    Height,
    TimeMs,
    TimeMsF,
    Weight,
)
from omnitensor.protocol.votes import ValidatorEntry, ValidatorTable
from state.commitment import Commitment, commitment_of
from state.ledger import epochs, validators, vaults
from state.ledger.accounts import Pot
from state.ledger.epochs import STAKE_UNIT
from state.ledger.errors import Rejected
from state.ledger.parameters import IN_FORCE
from state.ledger.supply import check_everything
from state.ledger.view import View
from state.overlay import DictBase, Overlay
from state.records import Account, PotTotal, Vault
from state.schema import ACCOUNTS, PARAMS, POTS, TABLES, Kind

GENESIS_BYTES_MAX: Final = 4 * limits.MIB
NO_PROPOSER: Final = Address(bytes(ADDRESS_BYTES))


class GenesisError(ProtocolError):
    """A genesis that can't begin a chain."""

    code = "genesis"


class GenesisAccount(Record, frozen=True):
    """An account with money from the beginning. ``balance`` in nanoOMNIT, without what its validator stakes."""

    address: AddressF
    balance: AmountF


class GenesisValidator(Record, frozen=True):
    """A validator of the first epoch. ``stake`` in nanoOMNIT, on top of the account's balance."""

    address: AddressF
    name: Annotated[str, Meta(max_length=limits.name_chars_max)]
    stake: AmountF
    commission_bps: Bps
    consensus_key: BlsPublicKeyF
    proof_of_possession: BlsSignatureF


class GenesisVault(Record, frozen=True):
    """Money that is locked from the beginning, in nanoOMNIT; times in milliseconds, as those of a ``VaultGrant``."""

    holder: AddressF
    amount: AmountF
    start_ms: TimeMsF
    cliff_ms: TimeMsF
    end_ms: TimeMsF


class GenesisRecord(Record, frozen=True):
    """What a genesis says, as canonical bytes."""

    chain_id: Annotated[str, Meta(min_length=1, max_length=limits.chain_id_chars_max)]
    time_ms: TimeMsF
    params: Params
    accounts: tuple[GenesisAccount, ...]
    validators: tuple[GenesisValidator, ...]
    locked: tuple[GenesisVault, ...] = ()


@dataclass(frozen=True)
class Genesis:
    """A chain's beginning. Whatever no account, vault or stake holds of the supply is the reserve."""

    chain_id: str
    time_ms: TimeMs
    params: Params
    accounts: tuple[GenesisAccount, ...]
    validators: tuple[GenesisValidator, ...]
    locked: tuple[GenesisVault, ...] = ()

    @property
    def reserve(self) -> Amount:
        """nanoOMNIT of the supply that nobody holds yet."""
        return Amount(SUPPLY_MAX - self._held)

    @property
    def _held(self) -> int:
        amounts = [row.balance for row in self.accounts] + [row.stake for row in self.validators]
        return sum(amounts) + sum(row.amount for row in self.locked)

    # -- reading and writing

    @classmethod
    def from_json(cls, text: str | bytes) -> "Genesis":
        """Reads and checks a genesis document. Raises GenesisError naming what is wrong."""
        return _checked(_from_document(_strict_json(text)))

    @classmethod
    def load(cls, path: Path) -> "Genesis":
        """Reads and checks the file. Raises GenesisError naming it and what is wrong."""
        try:
            if path.stat().st_size > GENESIS_BYTES_MAX:
                raise GenesisError("the genesis file is too large", value=path)
            text = path.read_bytes()
        except OSError as error:
            raise GenesisError("the genesis file can't be read", value=path, remedy=str(error)) from error
        try:
            return cls.from_json(text)
        except ProtocolError as error:
            raise GenesisError(
                f"{path} can't begin a chain: {error.reason}",
                value=error.value or None,
                remedy=error.remedy,
                code=error.code,
            ) from error

    def to_json(self) -> str:
        """The document, with every parameter that differs from its default."""
        return json.dumps(_to_document(self), indent=2, ensure_ascii=False) + "\n"

    def record(self) -> GenesisRecord:
        """For the database."""
        return GenesisRecord(
            self.chain_id, self.time_ms, self.params, self.accounts, self.validators, self.locked
        )

    @classmethod
    def from_record(cls, record: GenesisRecord) -> "Genesis":
        """From the database, where it was checked before it came there."""
        return cls(
            record.chain_id, record.time_ms, record.params, record.accounts, record.validators, record.locked
        )

    def checked(self) -> "Genesis":
        """Itself, when it can begin a chain; else raises GenesisError."""
        return _checked(self)

    # -- what follows from it

    @cached_property
    def table(self) -> ValidatorTable:
        """The voters of the first epoch."""
        entries = [
            ValidatorEntry(row.address, row.consensus_key, row.stake // STAKE_UNIT) for row in self.validators
        ]
        return ValidatorTable(GENESIS_EPOCH, tuple(sorted(entries, key=lambda entry: entry.address)))

    @cached_property
    def rows(self) -> Overlay:
        """The state at the beginning, as changes over nothing."""
        view = Overlay(DictBase())
        _fill(view, self)
        view.forget_marks()
        check_everything(view)
        return view

    @cached_property
    def commitment(self) -> Commitment:
        """The commitment to the state at the beginning."""
        return commitment_of(
            (bytes([prefix]) + key, encode(value))
            for prefix, key, value in self.rows.changes()
            if TABLES[prefix].kind is Kind.STATE
        )

    @cached_property
    def block(self) -> Block:
        """The block at height 0. Its hash is also the first beacon."""
        header = Header(
            version=HEADER_VERSION,
            chain_id=self.chain_id,
            height=Height(0),
            epoch=GENESIS_EPOCH,
            parent=ZERO_HASH,
            timestamp_ms=self.time_ms,
            proposer=NO_PROPOSER,
            beacon_reveal=b"",
            beacon=ZERO_HASH,
            base_fee=self.params.base_fee_initial,
            weight_used=Weight(0),
            transactions_root=transactions_root(()),
            receipts_root=receipts_root(BlockResult((), ())),
            work_root=ZERO_HASH,
            state_root=self.commitment.root(),
            validators_hash=self.table.hash,
            next_validators_hash=self.table.hash,
            history_root=Hash(merkle.EMPTY_ROOT),
            attendance=None,
        )
        return Block(header, ())

    @cached_property
    def hash(self) -> Hash:
        """Names the chain."""
        return self.block.hash


def _fill(view: View, genesis: Genesis) -> None:
    view.put(PARAMS, genesis.params, IN_FORCE)
    balances = {row.address: int(row.balance) for row in genesis.accounts}
    for row in genesis.validators:
        balances[row.address] = balances.get(row.address, 0) + row.stake
    for grant in genesis.locked:
        schedule = (grant.start_ms, grant.cliff_ms, grant.end_ms)
        vault = Vault(grant.holder, NO_PROPOSER, grant.amount, *schedule, Amount(0))
        balances[vaults.enter(view, vault)] = int(grant.amount)
    for address, balance in balances.items():
        view.put(ACCOUNTS, Account(Amount(balance), 0), Address(address))
    view.put(POTS, PotTotal(Amount(sum(balances.values()))), Pot.ACCOUNTS.value)
    if genesis.reserve:
        view.put(POTS, PotTotal(genesis.reserve), Pot.RESERVE.value)
    for row in genesis.validators:
        body = ValidatorRegister(
            row.stake, row.consensus_key, row.proof_of_possession, row.commission_bps, row.name
        )
        validators.admit(view, Height(0), row.address, body)
    if genesis.validators:  # `_checked` wants one; a ledger alone does without
        epochs.begin(view, GENESIS_EPOCH, ZERO_HASH, genesis.table.entries)


def _checked(genesis: Genesis) -> Genesis:
    check_genesis_params(genesis.params)
    if not genesis.chain_id.isascii() or not genesis.chain_id.replace("-", "").isalnum():
        raise GenesisError(
            "a chain id has letters, digits and dashes", value=genesis.chain_id, remedy="choose another"
        )
    if genesis._held > SUPPLY_MAX:
        raise GenesisError(
            "accounts, locked money and stakes are more than the supply",
            value=format_omnit(genesis._held),
            remedy=f"they may sum to {format_omnit(SUPPLY_MAX)}; the rest becomes the reserve",
        )
    addresses = [row.address for row in genesis.accounts]
    for owner in (*addresses, *(row.address for row in genesis.validators)):
        if not has_known_version(owner):
            raise GenesisError(
                "an account is of nobody who could order anything",
                value=format_address(owner),
                remedy="give an address of version 0 or 1; locked money has a list of its own",
            )
    if len(set(addresses)) != len(addresses):
        raise GenesisError("an account stands twice in the list", remedy="give each account once")
    _check_locked(genesis)
    for row in genesis.validators:
        if row.stake < genesis.params.validator_stake_min or row.stake < STAKE_UNIT:
            raise GenesisError(
                f"the stake of {row.name or format_address(row.address)} is below the least",
                value=format_omnit(row.stake),
                remedy=f"stake {format_omnit(genesis.params.validator_stake_min)} or more",
            )
        if not bls.pop_verify(row.consensus_key, row.proof_of_possession):
            raise GenesisError(
                f"the proof of possession of {row.name or format_address(row.address)} does not verify",
                value=row.consensus_key,
                remedy="make it with: omnitensor-node keys",
            )
    if len(genesis.validators) > genesis.params.validators_max:
        raise GenesisError(
            "more validators than an epoch may have",
            value=len(genesis.validators),
            remedy=f"give {genesis.params.validators_max} or fewer, or raise validators_max",
        )
    _ = genesis.table  # its own rules: one to a hundred validators, each address and key once
    return genesis


def _check_locked(genesis: Genesis) -> None:
    for row in genesis.locked:
        if not has_known_version(row.holder) or row.amount == 0:
            raise GenesisError(
                "locked money is of nobody, or nothing",
                value=format_address(row.holder),
                remedy="give an address of version 0 or 1 and an amount above zero",
            )
        try:
            vaults.check_schedule(row.start_ms, row.cliff_ms, row.end_ms)
        except Rejected as error:
            raise GenesisError(error.reason, value=error.value, remedy=error.remedy) from error


# -- the document


class _AccountDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    address: str
    balance: str


class _VaultDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    holder: str
    amount: str
    start_ms: TimeMsF
    cliff_ms: TimeMsF
    end_ms: TimeMsF


class _ValidatorDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    address: str
    name: Annotated[str, Meta(max_length=limits.name_chars_max)]
    stake: str
    commission_bps: Bps
    consensus_key: str
    proof_of_possession: str


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    chain_id: Annotated[str, Meta(min_length=1, max_length=limits.chain_id_chars_max)]
    time_ms: TimeMsF
    params: dict[str, Any]
    accounts: list[_AccountDocument]
    validators: list[_ValidatorDocument]
    reserve: str | None = None
    locked: list[_VaultDocument] = []


def _strict_json(text: str | bytes) -> dict[str, Any]:
    """An object of the JSON text without floats, NaN, repeated names or deep nesting. Raises GenesisError."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise GenesisError("a name stands twice in one object", value=twice, remedy="give it once")
        return found

    def no_float(token: str) -> Any:
        raise GenesisError(
            "a number is no integer", value=token, remedy="write amounts as text, in nanoOMNIT"
        )

    if is_deep(text, limits.json_depth_max):
        raise GenesisError("the genesis is not JSON: it nests too deep", remedy="check the file")
    try:
        document = json.loads(text, object_pairs_hook=unique, parse_float=no_float, parse_constant=no_float)
    except (ValueError, RecursionError) as error:
        raise GenesisError("the genesis is not JSON", value=error, remedy="check the file") from error
    if not isinstance(document, dict):
        raise GenesisError("the genesis is no JSON object", value=type(document).__name__)
    return document


def _from_document(document: dict[str, Any]) -> Genesis:
    try:
        read = msgspec.convert(document, _Document)
    except msgspec.ValidationError as error:
        raise GenesisError(
            f"the genesis has another form: {error}", remedy="compare it with genesis.json"
        ) from error
    genesis = Genesis(
        chain_id=read.chain_id,
        time_ms=read.time_ms,
        params=params_from(read.params),
        accounts=tuple(GenesisAccount(_address(row.address), _amount(row.balance)) for row in read.accounts),
        validators=tuple(
            GenesisValidator(
                _address(row.address),
                row.name,
                _amount(row.stake),
                row.commission_bps,
                _hex(row.consensus_key, bls.PUBLIC_KEY_BYTES),  # type: ignore[arg-type] # of the right length
                _hex(row.proof_of_possession, bls.SIGNATURE_BYTES),  # type: ignore[arg-type] # of the right length
            )
            for row in read.validators
        ),
        locked=tuple(
            GenesisVault(_address(row.holder), _amount(row.amount), row.start_ms, row.cliff_ms, row.end_ms)
            for row in read.locked
        ),
    )
    if genesis.reserve >= 0 and read.reserve is not None and _amount(read.reserve) != genesis.reserve:
        raise GenesisError(
            "accounts, locked money, stakes and reserve do not sum to the supply",
            value=read.reserve,
            remedy=f"the reserve is {genesis.reserve}, or leave it out",
        )
    return genesis


def _to_document(genesis: Genesis) -> dict[str, Any]:
    defaults, params = Params(), genesis.params
    return {
        "chain_id": genesis.chain_id,
        "time_ms": genesis.time_ms,
        "params": {
            name: getattr(params, name)
            for name in Params.__struct_fields__
            if getattr(params, name) != getattr(defaults, name)
        },
        "accounts": [
            {"address": format_address(row.address), "balance": str(row.balance)} for row in genesis.accounts
        ],
        "validators": [
            {
                "address": format_address(row.address),
                "name": row.name,
                "stake": str(row.stake),
                "commission_bps": row.commission_bps,
                "consensus_key": row.consensus_key.hex(),
                "proof_of_possession": row.proof_of_possession.hex(),
            }
            for row in genesis.validators
        ],
        **({"locked": [_vault_document(row) for row in genesis.locked]} if genesis.locked else {}),
        "reserve": str(genesis.reserve),
    }


def _vault_document(row: GenesisVault) -> dict[str, Any]:
    return {
        "holder": format_address(row.holder),
        "amount": str(row.amount),
        "start_ms": row.start_ms,
        "cliff_ms": row.cliff_ms,
        "end_ms": row.end_ms,
    }


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except KeyFormatError as error:
        raise GenesisError(error.reason, value=error.value or None, remedy=error.remedy) from error


def _amount(text: str) -> Amount:
    if not text.isascii() or not text.isdigit() or str(int(text[:20])) != text or int(text) > SUPPLY_MAX:
        raise GenesisError(
            "not an amount in nanoOMNIT", value=text, remedy="write a whole number as text, up to the supply"
        )
    return Amount(int(text))


def _hex(text: str, size: int) -> bytes:
    if len(text) != 2 * size or any(digit not in "0123456789abcdef" for digit in text):
        raise GenesisError(f"not {size} bytes in lower-case hexadecimal digits", value=text)
    return bytes.fromhex(text)
