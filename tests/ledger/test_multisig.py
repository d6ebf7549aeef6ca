"""Accounts of several keys: who may order for them, once and only so; what a refused order leaves; and what an attacker tries.

Signatures are real Ed25519; what is expected of each order is told by a plain model of the rules.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest
from msgspec.structs import replace as changed

from omnitensor.protocol import bodies, keys
from omnitensor.protocol.blocks import Receipt
from omnitensor.protocol.bodies import (
    CampaignOpen,
    MultisigExecute,
    SessionKeyAdd,
    SubmissionCommit,
    Transfer,
    ValidatorRegister,
)
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import CodecError, KeyFormatError
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.multisig import MemberSignature, MultisigError, Policy, order_message, policy_of
from omnitensor.protocol.transactions import weight_of
from omnitensor.protocol.types import (
    Address,
    Amount,
    BlsPublicKey,
    BlsSignature,
    CampaignId,
    Hash,
    Height,
    PublicKey,
    Signature,
)
from state.ledger.accounts import account as account_of
from state.ledger.errors import Unpayable
from state.ledger.multisig import sequence_of
from state.ledger.prepared import prepare
from state.ledger.transition import Execution, check_payable
from state.schema import MULTISIGS
from tests.ledger.world import OMNIT, SPEC, World, address_of, key_of

KEYS = sorted((SigningKey(bytes([n]) * 32) for n in range(1, 6)), key=lambda key: key.public)
ZERO = Hash(bytes(32))
POLICY = policy_of(2, [key.public for key in KEYS[:3]])
ACCOUNT = POLICY.address


@dataclass
class Bank(World):
    """A chain with a multisignature account that has money."""

    rich: int = 1_000 * OMNIT

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.do("ann", Transfer(ACCOUNT, Amount(self.rich))).ok

    def held(self, address: Address = ACCOUNT) -> int:
        return account_of(self.view, address).balance


def made(
    order: bodies.Order,
    *,
    policy: Policy = POLICY,
    account: Address | None = None,
    sequence: int = 0,
    valid_until: int = 1_000,
    signers: tuple[int, ...] = (0, 2),
    chain: str = "test-1",
    signed_order: bodies.Order | None = None,
) -> MultisigExecute:
    """An order that members signed, truthfully unless told otherwise."""
    account = policy.address if account is None else account
    message = order_message(
        chain, account, sequence, Height(valid_until), encode(order if signed_order is None else signed_order)
    )
    by_key = {key.public: key for key in KEYS}
    signatures = tuple(
        MemberSignature(place, by_key[policy.members[place]].sign(message)) for place in signers
    )
    return MultisigExecute(policy, account, sequence, Height(valid_until), order, signatures)


def test_members_order_and_anybody_sends() -> None:
    bank = Bank()
    before = bank.balance("ben")
    receipt = bank.do("cyd", made(Transfer(address_of("ben"), Amount(7 * OMNIT))))
    assert receipt.ok
    assert [event.kind for event in receipt.events] == ["multisig.executed", "transfer"]
    assert bank.balance("ben") == before + 7 * OMNIT
    assert bank.held() == bank.rich - 7 * OMNIT, "the sender pays the fee, not the account"
    row = bank.view.get(MULTISIGS, ACCOUNT)
    assert row is not None
    assert (row.policy, row.sequence) == (POLICY, 1)
    assert bank.replayed() == bank.base.encoded


def test_an_order_is_carried_out_once() -> None:
    bank = Bank()
    order = made(Transfer(address_of("ben"), Amount(OMNIT)))
    assert bank.do("cyd", order).ok
    assert bank.do("dan", order).code == "multisig_sequence"
    assert bank.held() == bank.rich - OMNIT


def test_a_refused_order_uses_its_number_and_changes_nothing_else() -> None:
    bank = Bank()
    bank.check_every_transaction = False
    order = made(Transfer(address_of("ben"), Amount(bank.rich + 1)))
    before = dict(bank.base.encoded)
    receipt = bank.do("cyd", order)
    assert receipt.code == "balance"
    assert [event.kind for event in receipt.events] == ["multisig.refused"]
    assert sequence_of(bank.view, ACCOUNT) == 1
    touched = {key for key in bank.base.encoded if bank.base.encoded[key] != before.get(key)}
    assert {key[0] for key in touched} == {0x11, 0x12, 0x1E}
    assert {key[1:] for key in touched if key[0] == 0x11} == {address_of("cyd"), address_of("proposer")}
    # It has the money later, and still nobody can repeat what its members saw fail.
    assert bank.do("ann", Transfer(ACCOUNT, Amount(10 * OMNIT))).ok
    assert bank.do("dan", order).code == "multisig_sequence"
    assert bank.held() == bank.rich + 10 * OMNIT


def test_a_refused_campaign_leaves_no_number_and_no_money_behind() -> None:
    """An inner order that writes before it refuses: a campaign takes its number, then finds no money."""
    bank = Bank()
    assert bank.do("cyd", made(CampaignOpen(SPEC, Amount(bank.rich + OMNIT)))).code == "balance"
    assert bank.do("cyd", made(CampaignOpen(SPEC, Amount(100 * OMNIT)), sequence=1)).ok
    assert bank.campaign(1).sponsor == ACCOUNT
    assert bank.held() == bank.rich - 100 * OMNIT


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (made(Transfer(address_of("ben"), Amount(1)), signers=(0,)), "multisig_signatures"),
        (made(Transfer(address_of("ben"), Amount(1)), signers=(0, 1, 2)), "multisig_signatures"),
        (made(Transfer(address_of("ben"), Amount(1)), signers=(1, 1)), "multisig_signatures"),
        (made(Transfer(address_of("ben"), Amount(1)), signers=(2, 0)), "multisig_signatures"),
        (made(Transfer(address_of("ben"), Amount(1)), chain="test-2"), "multisig_signature"),
        (made(Transfer(address_of("ben"), Amount(1)), sequence=1), "multisig_sequence"),
        (made(Transfer(address_of("ben"), Amount(1)), valid_until=1), "multisig_expired"),
        (
            made(Transfer(address_of("ben"), Amount(2)), signed_order=Transfer(address_of("ben"), Amount(1))),
            "multisig_signature",
        ),
        (
            changed(made(Transfer(address_of("ben"), Amount(1))), valid_until=Height(999)),
            "multisig_signature",
        ),
        (
            changed(made(Transfer(address_of("ben"), Amount(1))), account=address_of("ann")),
            "multisig_account",
        ),
        (
            changed(
                made(Transfer(address_of("ben"), Amount(1))),
                signatures=(
                    *made(Transfer(address_of("ben"), Amount(1)), signers=(0,)).signatures,
                    MemberSignature(3, Signature(bytes(64))),
                ),
            ),
            "multisig_signatures",
        ),
        (
            made(Transfer(address_of("ben"), Amount(1)), policy=Policy(0, POLICY.members), signers=()),
            "multisig_threshold",
        ),
        (
            made(Transfer(address_of("ben"), Amount(1)), policy=Policy(4, POLICY.members)),
            "multisig_threshold",
        ),
        (
            made(
                Transfer(address_of("ben"), Amount(1)),
                policy=Policy(2, (KEYS[0].public, KEYS[0].public, KEYS[1].public)),
                signers=(0, 1),
            ),
            "multisig_members",
        ),
        (
            made(
                Transfer(address_of("ben"), Amount(1)),
                policy=Policy(2, (KEYS[1].public, KEYS[0].public)),
                signers=(0, 1),
            ),
            "multisig_members",
        ),
        # An outsider's own account, whose signatures are good, names the victim.
        (
            made(
                Transfer(address_of("ben"), Amount(1)),
                policy=policy_of(1, [KEYS[4].public]),
                account=ACCOUNT,
                signers=(0,),
            ),
            "multisig_account",
        ),
    ],
)
def test_what_members_did_not_sign_is_refused(order: MultisigExecute, code: str) -> None:
    bank = Bank(check_every_transaction=True)
    assert bank.do("cyd", order).code == code
    assert sequence_of(bank.view, ACCOUNT) == 0
    assert bank.held() == bank.rich


def test_signatures_of_another_account_with_the_same_members_do_not_serve() -> None:
    """Two accounts of the same people, both at number 0: a signature binds the account."""
    bank = Bank()
    other = policy_of(2, [key.public for key in KEYS[:4]])
    assert bank.do("ann", Transfer(other.address, Amount(OMNIT))).ok
    order = made(Transfer(address_of("ben"), Amount(OMNIT)))
    stolen = changed(order, policy=other, account=other.address, signatures=order.signatures)
    assert bank.do("cyd", stolen).code == "multisig_signature"
    assert bank.held(other.address) == OMNIT


def test_no_nesting_on_the_wire() -> None:
    inner = made(Transfer(address_of("ben"), Amount(1)))
    outer = made(inner)  # type: ignore[arg-type] # what a stranger may encode
    assert decode(MultisigExecute, encode(inner)) == inner
    with pytest.raises(CodecError):
        decode(MultisigExecute, encode(outer))


def test_the_account_sponsors_stakes_and_gives_out_session_keys() -> None:
    bank = Bank(rich=200_000 * OMNIT)
    secret = BlsPublicKey(b"\x01" * 48)
    bodies_in_turn: list[bodies.Order] = [
        CampaignOpen(SPEC, Amount(100 * OMNIT)),
        ValidatorRegister(Amount(40_000 * OMNIT), secret, BlsSignature(bytes(96)), 100, "several"),
        SessionKeyAdd(key_of("script"), 3, Height(500), Amount(10**12)),
    ]
    codes = [bank.do("cyd", made(body, sequence=n)).code for n, body in enumerate(bodies_in_turn)]
    assert codes == ["ok", "possession", "ok"], "each kind is judged by its own rules"
    # The script signs for the account alone, within its scopes; the account pays, and its orders keep their own numbers.
    commit = SubmissionCommit(CampaignId(1), bank.commitment("x", 1, (), ZERO), 1)
    order = bank.order("script", commit, sender=ACCOUNT, nonce=0, signer=key_of("script"))
    bank.queue.append(order)
    assert bank.block().result.receipts[-1].code in ("ok", "balance", "sponsor")
    assert sequence_of(bank.view, ACCOUNT) == 3
    spend = bank.order(
        "script", Transfer(address_of("dan"), Amount(1)), sender=ACCOUNT, nonce=1, signer=key_of("script")
    )
    with pytest.raises(Unpayable, match="own key"):
        check_payable(bank.view, bank.context(bank.height + 1), prepare(spend))


def test_no_key_is_an_account_of_several_keys_own() -> None:
    """Whoever had a key that equals the hash in an address of version 1 would still sign for nothing."""
    bank = Bank()
    forged = bank.order(
        "ghost",
        Transfer(address_of("ben"), Amount(1)),
        sender=ACCOUNT,
        nonce=0,
        signer=PublicKey(ACCOUNT[1:]),
    )
    with pytest.raises(Unpayable) as refusal:
        check_payable(bank.view, bank.context(bank.height + 1), prepare(forged))
    assert refusal.value.code == "signer"
    strange = replace_first(ACCOUNT, 2)
    forged = bank.order("ghost", Transfer(address_of("ben"), Amount(1)), sender=strange, nonce=0)
    with pytest.raises(Unpayable) as refusal:
        check_payable(bank.view, bank.context(bank.height + 1), prepare(forged))
    assert refusal.value.code == "address"
    assert bank.do("ann", Transfer(strange, Amount(1))).code == "address"


def replace_first(address: Address, version: int) -> Address:
    return Address(bytes([version]) + address[1:])


def test_every_signature_is_paid_for() -> None:
    order = Transfer(address_of("ben"), Amount(1))
    one = made(order, policy=policy_of(1, [KEYS[0].public]), signers=(0,))
    two = made(order)
    assert two.weight() - one.weight() == 400
    bank = Bank()
    light = bank.order("ann", order)
    heavy = bank.order("ann", two)
    extra = weight_of(heavy, 0) - weight_of(light, 0)
    assert extra == 100 + 2 * 400, "the order's own weight counts as well"


def test_signatures_are_checked_through_the_context() -> None:
    """The seam: what the context says of a signature is what counts."""
    bank = Bank()
    order = made(Transfer(address_of("ben"), Amount(1)))
    asked: list[bytes] = []

    def never(public: bytes, message: bytes, signature: bytes) -> bool:
        asked.append(public)
        return False

    ctx = replace(bank.context(bank.height + 1), verify_key=never)
    receipt: Receipt = Execution(bank.view, ctx).apply(prepare(bank.order("cyd", order)))
    assert receipt.code == "multisig_signature"
    assert asked == [POLICY.members[0]], "the first bad one ends it"


def test_policies_that_make_no_account() -> None:
    members = [key.public for key in KEYS[:3]]
    for threshold, given in ((0, members), (4, members), (1, []), (2, [members[0], members[0], members[1]])):
        with pytest.raises(MultisigError):
            policy_of(threshold, given)
    with pytest.raises(MultisigError):
        policy_of(1, [SigningKey(n.to_bytes(32, "big")).public for n in range(1, 18)])
    assert policy_of(2, reversed(members)).address == ACCOUNT, (
        "the order in which members are named says nothing"
    )
    addresses = {policy_of(k, members).address for k in (1, 2, 3)} | {policy_of(2, members[:2]).address}
    assert len(addresses) == 4
    assert keys.parse_address(keys.format_address(ACCOUNT)) == ACCOUNT
    with pytest.raises(KeyFormatError):
        keys.public_of(ACCOUNT)


def test_random_orders_against_a_plain_model() -> None:
    """Random subsets of signers, numbers, amounts and expiries: the chain does exactly what a few lines of model say."""
    chance, bank, number, balance = random.Random(7), Bank(), 0, 1_000 * OMNIT
    outcomes: dict[str, int] = {}
    for _ in range(120):
        signers = tuple(sorted(chance.sample(range(3), chance.choice([1, 2, 2, 2, 3]))))
        sequence = number + chance.choice([-1, 0, 0, 0, 1]) if number else chance.choice([0, 0, 1])
        until = bank.height + chance.choice([0, 1, 5, 50])
        amount = chance.choice([0, 1, 3 * OMNIT, 20 * OMNIT, 2_000 * OMNIT])
        bad = chance.random() < 0.1
        order = made(
            Transfer(address_of("ben"), Amount(amount)),
            signers=signers,
            sequence=sequence,
            valid_until=until,
            chain="other" if bad else "test-1",
        )
        if len(signers) != 2:
            expected = "multisig_signatures"
        elif sequence != number:
            expected = "multisig_sequence"
        elif until < bank.height + 1:
            expected = "multisig_expired"
        elif bad:
            expected = "multisig_signature"
        else:
            number += 1
            expected = "amount" if not amount else "balance" if amount > balance else "ok"
            balance -= amount if expected == "ok" else 0
        receipt = bank.do(chance.choice(["ann", "cyd"]), order)
        assert receipt.code == expected
        outcomes[expected] = outcomes.get(expected, 0) + 1
        assert (sequence_of(bank.view, ACCOUNT), bank.held()) == (number, balance)
    assert len(outcomes) == 7, outcomes
    assert bank.replayed() == bank.base.encoded
