"""Accounts of several keys: who their members are, their address, and what members sign. Knows no account's state.

The address commits to how many must sign and to all members, so nothing has to be registered: money can be sent to it at once.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Annotated, Final

from msgspec import Meta

from omnitensor.protocol import hashing
from omnitensor.protocol.codec import Record, encode
from omnitensor.protocol.errors import KeyFormatError, ProtocolError
from omnitensor.protocol.limits import multisig_members_max
from omnitensor.protocol.types import (
    MULTISIG_VERSION,
    U16,
    Address,
    Hash,
    Height,
    PublicKey,
    PublicKeyF,
    SignatureF,
)

_VERSION_BYTE: Final = bytes([MULTISIG_VERSION])


class MultisigError(ProtocolError):
    """Members, or signatures of members, that make no multisignature account or no order of one. ``code`` says which."""

    code = "multisig"


class Policy(Record, frozen=True):
    """Who may sign for a multisignature account, and how many of them must."""

    threshold: U16
    members: Annotated[tuple[PublicKeyF, ...], Meta(min_length=1, max_length=multisig_members_max)]
    """Ed25519 keys, ascending, each once."""

    @property
    def address(self) -> Address:
        """The account's address, 33 bytes."""
        return Address(_VERSION_BYTE + hashing.MULTISIG(encode(self)))


class MemberSignature(Record, frozen=True):
    """The signature of one member, by its place among the members."""

    member: U16
    signature: SignatureF


def policy_of(threshold: int, members: Iterable[PublicKey]) -> Policy:
    """The checked policy of members in any order. Raises MultisigError."""
    policy = Policy(threshold, tuple(sorted(members)))
    check_policy(policy)
    return policy


def check_policy(policy: Policy) -> None:
    """Raises MultisigError unless members ascend, each once, and at least one and at most all of them must sign."""
    members = policy.members
    if not 1 <= len(members) <= multisig_members_max:
        raise MultisigError(
            f"an account of several keys has 1 to {multisig_members_max} members",
            value=len(members),
            code="multisig_members",
        )
    for before, after in pairwise(members):
        if before >= after:
            raise MultisigError(
                "a member stands twice" if before == after else "the members' keys do not ascend",
                value=after,
                remedy="name each member once",
                code="multisig_members",
            )
    if not 1 <= policy.threshold <= len(members):
        raise MultisigError(
            f"of {len(members)} members, 1 to {len(members)} can be asked to sign",
            value=policy.threshold,
            remedy="choose another threshold",
            code="multisig_threshold",
        )


def check_signers(policy: Policy, signatures: Sequence[MemberSignature]) -> None:
    """Raises MultisigError unless there are exactly as many signatures as needed, of members in ascending order, each once."""
    if len(signatures) != policy.threshold:
        raise MultisigError(
            f"{policy.threshold} members sign, no more and no fewer",
            value=len(signatures),
            remedy="put the signatures together with: otensor-cli multisig combine",
            code="multisig_signatures",
        )
    before = -1
    for one in signatures:
        if not before < one.member < len(policy.members):
            raise MultisigError(
                "a signature is of no member, or members sign twice or out of order",
                value=one.member,
                remedy="put the signatures together with: otensor-cli multisig combine",
                code="multisig_signatures",
            )
        before = one.member


def order_message(chain_id: str, account: Address, sequence: int, valid_until: Height, order: bytes) -> Hash:
    """What members sign: one order of this account on this chain, up to a height. ``order``: the body's canonical bytes."""
    return hashing.MULTISIG_ORDER(
        chain_id.encode(), account, sequence.to_bytes(8, "big"), valid_until.to_bytes(8, "big"), order
    )


def member_of(policy: Policy, public: PublicKey) -> int:
    """The place of a key among the members. Raises KeyFormatError where it is none."""
    if public not in policy.members:
        raise KeyFormatError(
            "the key is of no member of this account", value=public, remedy="sign with a member's key"
        )
    return policy.members.index(public)
