"""Accounts of several keys: the files that members pass around, and what is signed. Knows no node; each file is checked whole.

An account file says who the members are. An order file holds one order in its canonical bytes, and the signatures so far:
what a member is shown is decoded from those bytes, so nobody signs anything else than what they saw.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Self

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from omnitensor.protocol import bodies, keys, limits
from omnitensor.protocol.bodies import MultisigExecute
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import CodecError, KeyFormatError
from omnitensor.protocol.json_depth import is_deep
from omnitensor.protocol.keys import format_address, parse_address, public_of
from omnitensor.protocol.limits import KIB, transaction_bytes_max
from omnitensor.protocol.multisig import (
    MemberSignature,
    MultisigError,
    Policy,
    check_policy,
    member_of,
    order_message,
    policy_of,
)
from omnitensor.protocol.types import Address, Hash, Height, PublicKey, Signature
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.wallet import Wallet

multisig_file_bytes_max: Final = 2 * transaction_bytes_max + 64 * KIB
ACCOUNT_FORMAT: Final = "omnitensor/multisig-account/1"
ORDER_FORMAT: Final = "omnitensor/multisig-order/1"


class _AccountDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    address: str
    threshold: int
    members: list[str]


class _OrderDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    chain_id: Annotated[str, Meta(min_length=1, max_length=limits.chain_id_chars_max)]
    account: str
    threshold: int
    members: list[str]
    sequence: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    valid_until: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    order: str
    signatures: dict[str, str]


def policy_from(threshold: int, members: Iterable[str]) -> Policy:
    """The policy of members named by their own addresses, in any order. Raises MultisigError or KeyFormatError."""
    return policy_of(threshold, [_member(text) for text in members])


def account_json(policy: Policy) -> str:
    """An account file."""
    document = _AccountDocument(
        ACCOUNT_FORMAT, format_address(policy.address), policy.threshold, member_texts(policy)
    )
    return json.dumps(msgspec.to_builtins(document), indent=2) + "\n"


def account_from(text: str | bytes) -> Policy:
    """The policy in an account file. Raises InputError or MultisigError."""
    read = _read(text, _AccountDocument, ACCOUNT_FORMAT)
    return _policy(read.threshold, read.members, read.address)


def member_texts(policy: Policy) -> list[str]:
    """The members' own addresses."""
    return [format_address(keys.address_of(key)) for key in policy.members]


class MultisigOrder(msgspec.Struct, frozen=True):
    """An order of a multisignature account, and the members' signatures so far, by place, each of them good."""

    chain_id: str
    policy: Policy
    sequence: int
    valid_until: Height
    order: bodies.Order
    signatures: tuple[MemberSignature, ...] = ()

    @property
    def account(self) -> Address:
        return self.policy.address

    @property
    def message(self) -> Hash:
        """What members sign."""
        return order_message(self.chain_id, self.account, self.sequence, self.valid_until, encode(self.order))

    @property
    def missing(self) -> int:
        """How many signatures are still needed."""
        return max(0, self.policy.threshold - len(self.signatures))

    def signed_by(self) -> list[str]:
        """Members that have signed, by their own addresses."""
        texts = member_texts(self.policy)
        return [texts[one.member] for one in self.signatures]

    def sign(self, wallet: Wallet) -> Self:
        """With a member's signature. Raises InputError where the key is no member's, or has signed."""
        try:
            member = member_of(self.policy, wallet.public)
        except KeyFormatError as error:
            raise InputError(
                "the account logged in with is no member of this account",
                value=format_address(self.account),
                remedy=f"its members are {', '.join(member_texts(self.policy))}",
            ) from error
        if any(one.member == member for one in self.signatures):
            raise InputError(
                "this member has signed already",
                value=wallet.text,
                remedy="pass the file on to another member",
            )
        return self._with(MemberSignature(member, wallet.sign_message(self.message)))

    def combined(self, others: Iterable[MultisigOrder]) -> Self:
        """With the signatures of the same order in other files. Raises InputError where one holds another order."""
        found = self
        for other in others:
            if replace(other, signatures=()) != replace(self, signatures=()):
                raise InputError(
                    "the files hold different orders",
                    value=other.message.hex(),
                    remedy="combine files that come from one order",
                )
            for one in other.signatures:
                if all(one.member != known.member for known in found.signatures):
                    found = found._with(one)
        return found

    def body(self) -> MultisigExecute:
        """What any account can send. Raises InputError where members have still to sign."""
        if self.missing:
            raise InputError(
                f"{self.missing} more of {len(self.policy.members)} members have to sign",
                value=format_address(self.account),
                remedy="otensor-cli multisig sign FILE, then combine",
            )
        return MultisigExecute(
            self.policy,
            self.account,
            self.sequence,
            self.valid_until,
            self.order,
            self.signatures[: self.policy.threshold],
        )

    def to_json(self) -> str:
        """An order file."""
        texts = member_texts(self.policy)
        document = _OrderDocument(
            ORDER_FORMAT,
            self.chain_id,
            format_address(self.account),
            self.policy.threshold,
            texts,
            self.sequence,
            self.valid_until,
            encode(self.order).hex(),
            {texts[one.member]: one.signature.hex() for one in self.signatures},
        )
        return json.dumps(msgspec.to_builtins(document), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The order in a file, every signature checked. Raises InputError or MultisigError."""
        read = _read(text, _OrderDocument, ORDER_FORMAT)
        policy = _policy(read.threshold, read.members, read.account)
        try:
            order: bodies.Order = decode(bodies.Order, bytes.fromhex(read.order), transaction_bytes_max)  # type: ignore[arg-type] # a union
        except (CodecError, ValueError) as error:
            raise InputError(
                f"the file's order can't be read: {error}", remedy="get the file again"
            ) from error
        found = cls(read.chain_id, policy, read.sequence, Height(read.valid_until), order)
        for member, signature in sorted(read.signatures.items()):
            found = found._with(MemberSignature(member_of(policy, _member(member)), _signature(signature)))
        return found

    def _with(self, one: MemberSignature) -> Self:
        member = self.policy.members[one.member]
        if not keys.verify(member, self.message, one.signature):
            raise InputError(
                "a signature in the file is not over this order",
                value=format_address(keys.address_of(member)),
                remedy="the order was changed after it was signed, or the file is damaged: get it again",
            )
        return replace(self, signatures=tuple(sorted((*self.signatures, one), key=lambda each: each.member)))


def read_file(path: Path) -> bytes:
    """A file that members pass around. Raises InputError."""
    try:
        if path.stat().st_size > multisig_file_bytes_max:
            raise InputError("the file is too large to be one of a multisignature account", value=path)
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"the file can't be read ({error.strerror})", value=path, remedy="check its name"
        ) from error


def _read(text: str | bytes, kind: type[Any], wanted: str) -> Any:
    what = wanted.split("/")[1]
    try:
        if is_deep(text, limits.json_depth_max):
            raise ValueError("it nests too deep")
        read = msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise InputError(
            f"not a {what} file: {error}", remedy="make one with: otensor-cli multisig create, or order"
        ) from error
    if read.format != wanted:
        raise InputError("the file is of another format", value=read.format, remedy=f"{wanted} is read")
    return read


def _policy(threshold: int, members: list[str], address: str) -> Policy:
    """The policy that a file states, which must be of the address that it states."""
    if not 0 <= threshold <= limits.multisig_members_max or len(members) > limits.multisig_members_max:
        raise MultisigError("too many members or signatures", value=f"{threshold} of {len(members)}")
    policy = Policy(threshold, tuple(_member(text) for text in members))
    check_policy(policy)
    if policy.address != parse_address(address):
        raise InputError(
            "the file's members are not those of its account",
            value=address,
            remedy="the file was changed or is damaged: get it again",
        )
    return policy


def _member(text: str) -> PublicKey:
    try:
        return public_of(parse_address(text))
    except KeyFormatError as error:
        raise InputError(
            f"not a member: {error.reason}",
            value=error.value or None,
            remedy="members are named by the addresses of their own accounts; accounts of several keys do not nest",
        ) from error


def _signature(text: str) -> Signature:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != keys.SIGNATURE_BYTES:
        raise InputError(
            "not a signature", value=text, remedy=f"it has {2 * keys.SIGNATURE_BYTES} hexadecimal digits"
        )
    return Signature(found)
