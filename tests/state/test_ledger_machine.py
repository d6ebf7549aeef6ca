"""Random valid and invalid transactions of the ledger's ground against the model: money is conserved after every one, a refused
one changes fee and nonce alone, one that can't stand changes nothing, and replaying the blocks gives the same root.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from hashlib import sha256
from typing import Any
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from omnitensor.protocol import bls, limits
from omnitensor.protocol.blocks import Event, Receipt
from omnitensor.protocol.bodies import (
    BodyBase,
    SessionKeyAdd,
    SessionKeyRemove,
    StakeAdd,
    StakeWithdraw,
    SubmissionCommit,
    Transfer,
    ValidatorRegister,
)
from omnitensor.protocol.codec import encode
from omnitensor.protocol.params import Params
from omnitensor.protocol.transactions import unsigned
from omnitensor.protocol.types import (
    NANO,
    ZERO_HASH,
    Address,
    Amount,
    BlsPublicKey,
    BlsSignature,
    CampaignId,
    Epoch,
    Height,
    PublicKey,
    TimeMs,
)
from state.commitment import commitment_of
from state.genesis import Genesis, GenesisAccount
from state.ledger import sessions, transfers
from state.ledger.accounts import NO_ACCOUNT
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected, Unpayable
from state.ledger.prepared import Prepared, prepare
from state.ledger.registry import HANDLERS
from state.ledger.supply import check_everything
from state.ledger.transition import Execution, apply_block
from state.ledger.view import View
from state.overlay import DictBase, Overlay
from state.schema import (
    ACCOUNTS,
    POTS,
    SESSION_KEYS,
    SESSION_KEYS_BY_OWNER,
    TABLES,
    UNBONDING,
    VALIDATORS,
    Kind,
    number,
)
from tests.state import ledger_model
from tests.state.ledger_model import Model

CHAIN = "machine"
PEOPLE = 5
SESSIONS = 6
PARAMS = Params(
    validator_stake_min=Amount(10 * NANO),
    unbonding_blocks=3,
    valid_until_blocks_max=5,
    block_weight_max=40_000,
    block_weight_target=5_000,
    base_fee_initial=100,
)
LIMITS = {"unbonding_per_validator_max": 2, "unbonding_paid_per_block_max": 1}
SESSION_KEYS_MAX = 2


def public(name: str) -> PublicKey:
    """A public key of nobody: the ledger checks no signatures."""
    return PublicKey(sha256(name.encode()).digest())


PERSONS = [Address(b"\0" + public(f"person{i}")) for i in range(PEOPLE)]
SESSION_PUBLICS = [public(f"session{i}") for i in range(SESSIONS)]


@cache
def consensus_key(index: int) -> tuple[BlsPublicKey, BlsSignature]:
    secret = bls.keygen(sha256(b"machine%d" % index).digest())
    return bls.sk_to_pk(secret), bls.pop_prove(secret)


AMOUNTS = [0, 1, NANO, 5 * NANO, 10 * NANO, 12 * NANO, 30 * NANO, 10_000 * NANO]


def make_body(kind: int, one: int, two: int, amount: int) -> BodyBase:
    """A body of every kind, often a wrong one, from small numbers."""
    money = Amount(AMOUNTS[amount % len(AMOUNTS)])
    session = SESSION_PUBLICS[one % SESSIONS]
    if kind == 0:
        to = [*PERSONS, Address(b"\0" + public("stranger")), Address(b"\2" + bytes(32))]
        return Transfer(to[one % len(to)], money)
    if kind == 1:
        key = PublicKey(PERSONS[two % PEOPLE][1:]) if amount == 7 else session
        return SessionKeyAdd(key, two % 7 + 1, Height(two))
    if kind == 2:
        return SessionKeyRemove(session)
    if kind == 3:
        key, proof = consensus_key(one % 4)
        proof = consensus_key(two % 4)[1] if two % 5 == 0 else proof
        return ValidatorRegister(money, key, proof, 100, f"v{one}")
    if kind == 4:
        return StakeAdd(money)
    if kind == 5:
        return StakeWithdraw(money)
    return SubmissionCommit(CampaignId(10**9), ZERO_HASH, 1)


class World:
    """The ledger and the model side by side."""

    def __init__(self) -> None:
        self.patches = [mock.patch.object(limits, name, value) for name, value in LIMITS.items()]
        self.patches.append(mock.patch.object(sessions, "session_keys_per_account_max", SESSION_KEYS_MAX))
        for patch in self.patches:
            patch.start()
        self.genesis = genesis_rows()
        self.base = DictBase()
        self.base.encoded = dict(self.genesis)
        self.commitment = commitment_of(state_rows(self.base).items())
        self.blocks: list[tuple[BlockContext, list[Prepared]]] = []
        self.model = Model(
            chain_id=CHAIN,
            balances=dict.fromkeys(PERSONS, 100 * NANO),
            stake_min=10 * NANO,
            unbonding_blocks=3,
            valid_for_max=5,
            weight_max=40_000,
            weight_target=5_000,
            session_keys_max=SESSION_KEYS_MAX,
            withdrawals_max=2,
            paid_a_block_max=1,
            good_proofs=dict(consensus_key(i) for i in range(4)),
            base_fee=100,
        )
        self.codes: dict[str, int] = {}
        self.begin_block()

    def begin_block(self) -> None:
        height = self.model.height
        self.ctx = BlockContext(
            CHAIN,
            Height(height),
            Epoch(0),
            TimeMs(height),
            PERSONS[0],
            ZERO_HASH,
            PARAMS,
            self.model.base_fee,
        )
        self.view = Overlay(self.base)
        self.execution = Execution(self.view, self.ctx)
        self.taken: list[Prepared] = []

    def order(
        self,
        who: int,
        body: BodyBase,
        nonce_off: int = 0,
        valid_off: int = 2,
        fee: int = 0,
        tip: int = 0,
        signer: int = 0,
    ) -> None:
        sender = PERSONS[who % PEOPLE]
        by = SESSION_PUBLICS[signer % SESSIONS] if signer else PublicKey(sender[1:])
        transaction = unsigned(
            chain_id=CHAIN if fee != 3 else "elsewhere",
            sender=sender,
            nonce=max(0, self.model.nonces.get(sender, 0) + nonce_off),
            valid_until=Height(max(0, self.model.height + valid_off)),
            max_fee=Amount([NANO // 10, 60_000, 1_000 * NANO][min(fee, 2)] if fee != 3 else NANO),
            tip=Amount(tip),
            body=body,  # type: ignore[arg-type] # every body is one of the union
            signer=by,
        )
        self.submit(prepare(transaction))

    def submit(self, prepared: Prepared) -> None:
        before = self.snapshot()
        if prepared.transaction.body.KIND == "submission_commit":
            expected: Any = self._judge_foreign(prepared)
        else:
            expected = self.model.judge(prepared.transaction, len(prepared.encoded))
        receipt = self.apply(prepared)
        if isinstance(receipt, ledger_model.Unpayable):
            assert receipt == expected
            assert self.snapshot() == before, "a transaction that can't stand changed something"
            self.codes["-" + receipt.code] = self.codes.get("-" + receipt.code, 0) + 1
            return
        assert receipt.code == expected, (receipt.code, expected)
        self.codes[receipt.code] = self.codes.get(receipt.code, 0) + 1
        self.taken.append(prepared)
        if not receipt.ok:
            assert receipt.reason
            assert not receipt.events
            self.only_fee_and_nonce_changed(before, prepared, receipt.fee + receipt.tip)
        self.compare()

    def apply(self, prepared: Prepared) -> Receipt | ledger_model.Unpayable:
        try:
            return self.execution.apply(prepared)
        except Unpayable as refusal:
            return ledger_model.Unpayable(refusal.code)

    def _judge_foreign(self, prepared: Prepared) -> Any:
        """A kind of another model: it only serves to use session keys here, and no such campaign exists."""
        with mock.patch.object(Model, "_submission_commit", return_value="campaign_unknown", create=True):
            return self.model.judge(prepared.transaction, len(prepared.encoded))

    def snapshot(self) -> dict[tuple[int, bytes], Any]:
        return {(prefix, key): value for prefix, key, value in self.view.changes()}

    def only_fee_and_nonce_changed(
        self, before: dict[tuple[int, bytes], Any], prepared: Prepared, paid: int
    ) -> None:
        after, sender = self.snapshot(), prepared.transaction.sender
        place = (ACCOUNTS.prefix, bytes(sender))
        was = before.get(place) or self.base.row(ACCOUNTS, sender)
        assert after.pop(place) == type(was)(was.balance - paid, was.nonce + 1)
        before.pop(place, None)
        assert after == before

    def compare(self) -> None:
        """Ledger and model agree on everything, and money is conserved, summed from the rows."""
        view, model = self.view, self.model
        accounts = dict(view.scan(ACCOUNTS))
        rows = {
            "balances": {key: row.balance for key, row in accounts.items() if row.balance},
            "nonces": {key: row.nonce for key, row in accounts.items() if row.nonce},
            "stakes": {key: row.stake for key, row in view.scan(VALIDATORS)},
            "queue": [
                (number(due), who, number(index), row.amount)
                for key, row in view.scan(UNBONDING)
                for due, who, index in [UNBONDING.split(key)]
            ],
        }
        assert rows == model.rows()
        pots = {key.decode(): row.amount for key, row in view.scan(POTS)}
        in_flight = self.execution.burning + self.execution.tips
        held = sum(row.balance for row in accounts.values()) + in_flight
        assert (
            held + sum(amount for name, amount in pots.items() if name != "accounts") == ledger_model.SUPPLY
        )
        assert min(row.balance for row in accounts.values()) >= 0
        sessions_held = {
            key: (row.owner, row.scopes, row.valid_until) for key, row in view.scan(SESSION_KEYS)
        }
        assert sessions_held == model.sessions
        owned = {key[33:]: key[:33] for key, _ in view.scan(SESSION_KEYS_BY_OWNER)}
        assert owned == {key: owner for owner, keys in model.listed.items() for key in keys}

    def end_block(self) -> None:
        self.execution.finish()
        self.model.end_block(PERSONS[0])
        self.execution.burning = self.execution.tips = 0
        self.compare()
        pots = {key.decode(): row.amount for key, row in self.view.scan(POTS)}
        assert {k: v for k, v in self.model.pots().items() if v} == {
            k: v for k, v in pots.items() if v and k != "reserve"
        }
        check_everything(self.view)
        changes = [
            (bytes([prefix]) + key, encoded(value))
            for prefix, key, value in self.view.changes()
            if TABLES[prefix].kind is Kind.STATE
        ]
        self.commitment = self.commitment.changed(changes, no_page).commitment
        self.base.apply(self.view)
        self.blocks.append((self.ctx, self.taken))
        self.begin_block()

    def close(self) -> None:
        self.end_block()
        assert self.commitment.root() == commitment_of(state_rows(self.base).items()).root()
        replayed = DictBase()
        replayed.encoded = dict(self.genesis)
        for ctx, taken in self.blocks:
            view = Overlay(replayed)
            apply_block(view, ctx, taken)
            replayed.apply(view)
        assert replayed.encoded == self.base.encoded
        self.stop()

    def stop(self) -> None:
        for patch in self.patches:
            patch.stop()
        self.patches = []


def no_page(place: bytes) -> bytes:
    raise AssertionError("all pages are in memory")


def encoded(value: Any) -> bytes | None:
    return None if value is None else encode(value)


def state_rows(base: DictBase) -> dict[bytes, bytes]:
    return base.state_entries()


@cache
def genesis_rows() -> dict[bytes, bytes]:
    accounts = tuple(GenesisAccount(address, Amount(100 * NANO)) for address in PERSONS)
    base = DictBase()
    base.apply(Genesis(CHAIN, TimeMs(0), PARAMS, accounts, ()).rows)
    return base.encoded


ORDERS = {
    "who": st.integers(0, PEOPLE - 1),
    "kind": st.integers(0, 6),
    "one": st.integers(0, 9),
    "two": st.integers(0, 12),
    "amount": st.integers(0, len(AMOUNTS) - 1),
    "tip": st.sampled_from([0, 0, 1, NANO]),
}


class LedgerMachine(RuleBasedStateMachine):
    """Hypothesis picks the orders; `World` compares after each."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(**ORDERS)
    def order(self, who: int, kind: int, one: int, two: int, amount: int, tip: int) -> None:
        self.world.order(who, make_body(kind, one, two, amount), tip=tip)

    @rule(
        **ORDERS,
        nonce_off=st.integers(-1, 1),
        valid_off=st.sampled_from([-1, 0, 5, 6]),
        fee=st.integers(0, 3),
        signer=st.integers(0, SESSIONS),
    )
    def wrong_order(
        self,
        who: int,
        kind: int,
        one: int,
        two: int,
        amount: int,
        tip: int,
        nonce_off: int,
        valid_off: int,
        fee: int,
        signer: int,
    ) -> None:
        self.world.order(who, make_body(kind, one, two, amount), nonce_off, valid_off, fee, tip, signer)

    @rule()
    def end_block(self) -> None:
        self.world.end_block()

    @invariant()
    def nothing_is_negative(self) -> None:
        assert self.world.execution.burning >= 0

    def teardown(self) -> None:
        try:
            self.world.close()
        finally:
            self.world.stop()


LedgerMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)
TestLedgerMachine = LedgerMachine.TestCase


def random_run(seed: int, steps: int) -> World:
    """A long run with a chance of its own: more steps than Hypothesis takes, and no shrinking."""
    chance, world = random.Random(seed), World()
    try:
        for _ in range(steps):
            if chance.random() < 0.08:
                world.end_block()
                continue
            kind = chance.choice([0, 0, 1, 2, 3, 4, 5, 5, 6])
            two = world.model.height + chance.randrange(-2, 8) if kind == 1 else chance.randrange(13)
            body = make_body(kind, chance.randrange(10), max(0, two), chance.randrange(len(AMOUNTS)))
            wrong = chance.random() < 0.2
            world.order(
                chance.randrange(PEOPLE),
                body,
                nonce_off=chance.choice([-1, 0, 0, 1]) if wrong else 0,
                valid_off=chance.choice([-1, 0, 5, 6]) if wrong else 2,
                fee=chance.randrange(4) if wrong else 0,
                tip=chance.choice([0, 0, 1, 1000]),
                signer=chance.randrange(SESSIONS + 1) if wrong or kind == 6 else 0,
            )
        world.close()
    finally:
        world.stop()
    return world


@pytest.mark.parametrize("seed", range(4))
def test_long_random_histories(seed: int) -> None:
    random_run(seed, 3_000)


def test_every_outcome_was_reached() -> None:
    """Rules that never fire prove nothing: every code of these kinds comes up in a few long runs."""
    seen: dict[str, int] = {}
    for seed in range(10, 13):
        for code, times in random_run(seed, 2_000).codes.items():
            seen[code] = seen.get(code, 0) + times
    expected = (
        "ok address amount balance session_expired session_is_account session_taken session_limit session_unknown"
        " validator_exists stake_min consensus_key_taken possession validator_unknown stake unbonding_limit"
        " campaign_unknown -chain_id -expired -valid_until -nonce -signer -session_expired -session_scope -max_fee"
        " -balance -block_full"
    ).split()
    assert sorted(set(expected) - set(seen)) == []


PLANTED = {
    "fee not taken": ("state.ledger.transition.fee_of", lambda weight, base_fee: 0),
    "base fee that does not move": (
        "state.ledger.transition.next_base_fee",
        lambda base_fee, weight_used, params: base_fee,
    ),
    "session never checked": ("state.ledger.transition.check_session", lambda *_: None),
    "possession never checked": ("omnitensor.protocol.bls.Scheme.pop_verify", lambda *_: True),
}


@pytest.mark.parametrize("fault", ["rollback", "unbonding", *PLANTED])
def test_planted_fault_is_found(fault: str) -> None:
    if fault == "rollback":
        patch = mock.patch.object(Overlay, "rollback", return_value=None)
        # No rule of these kinds writes before it refuses; this one does.
        with mock.patch.dict(HANDLERS, {Transfer: careless_transfer}):
            random_run(0, 400)
            with patch, pytest.raises(AssertionError):
                random_run(0, 400)
        return
    elif fault == "unbonding":
        # Pays at once instead of after the unbonding time.
        real = World.begin_block

        def begin_block(world: World) -> None:
            real(world)
            world.ctx = replace(world.ctx, params=Params(**{**fields(PARAMS), "unbonding_blocks": 0}))
            world.execution = Execution(world.view, world.ctx)

        patch = mock.patch.object(World, "begin_block", begin_block)
    elif fault == "base fee that does not move":
        # Blocks' own contexts take the model's base fee, so it is the outcome that differs.
        real_finish = Execution.finish
        outcomes: list[int] = []

        def finish(execution: Execution) -> Any:
            outcome = real_finish(execution)
            outcomes.append(outcome.next_base_fee)
            return outcome

        with mock.patch(*PLANTED[fault]), mock.patch.object(Execution, "finish", finish):
            world = World()
            for _ in range(5):
                world.end_block()
            assert outcomes[0] == 100 != world.model.base_fee
            world.stop()
        return
    else:
        patch = mock.patch(*PLANTED[fault])
    with patch, pytest.raises(AssertionError):
        for seed in range(20):
            random_run(seed, 400)


def careless_transfer(view: View, ctx: BlockContext, sender: Address, body: Transfer) -> tuple[Event, ...]:
    try:
        return transfers.transfer(view, ctx, sender, body)
    except Rejected:
        view.put(ACCOUNTS, NO_ACCOUNT, sender)
        raise


def fields(params: Params) -> dict[str, Any]:
    return {name: getattr(params, name) for name in params.__struct_fields__}


def test_next_base_fee_is_the_models() -> None:
    world = World()
    outcomes = []
    real = Execution.finish

    def finish(execution: Execution) -> Any:
        outcomes.append(real(execution))
        return outcomes[-1]

    chance = random.Random(5)
    with mock.patch.object(Execution, "finish", finish):
        for _ in range(60):
            for _ in range(chance.randrange(20)):
                world.order(chance.randrange(PEOPLE), Transfer(PERSONS[1], Amount(1)))
            world.end_block()
            assert outcomes[-1].next_base_fee == world.model.base_fee
    world.stop()
