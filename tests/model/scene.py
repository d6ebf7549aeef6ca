"""The ledger and the model side by side: orders go into both, and what comes out of both is held together at every step.

After every transaction: the receipt's code is the model's, money is conserved, nothing is below zero, and a refused order
changed its sender's fee and nonce alone. After every block: every row that it changed is the model's, and events tell every
balance. At the end: all campaigns end with nothing in escrow, every row is the model's, and the blocks give the same roots again.
"""

from __future__ import annotations

from collections import Counter
from hashlib import sha256, sha512
from typing import Any
from unittest import mock

from msgspec.structs import asdict, replace

from consensus.schedule import leaders
from omnitensor.protocol import limits
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.epochs import epoch_of
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.multisig import Policy
from omnitensor.protocol.params import Params
from omnitensor.protocol.transactions import Transaction, unsigned
from omnitensor.protocol.types import NANO, Address, Amount, Hash, Height, PublicKey, Signature, TimeMs
from state.commitment import commitment_of
from state.genesis import Genesis, GenesisAccount, GenesisValidator
from state.ledger import sessions
from state.ledger.context import BlockContext
from state.ledger.errors import Unpayable
from state.ledger.prepared import Prepared, prepare, prepare_encoded
from state.ledger.supply import check_account_sum, check_supply
from state.ledger.transition import Execution, apply_block
from state.overlay import Overlay
from state.schema import ACCOUNTS, DUE, MULTISIGS, PARAMS, POTS, SESSION_KEYS, number
from tests.model import ground
from tests.model.chain import Model
from tests.model.compare import check_changes, check_everything
from tests.model.rows import Rows
from tests.model.sums import check_sums
from tests.model.told import Told
from tests.simulation.scheme import SimScheme

CHAIN = "model-1"
LIMITS = {
    "session_keys_per_account_max": 2,
    "unbonding_per_validator_max": 3,
    "unbonding_paid_per_block_max": 2,
    "seats_released_per_block_max": 2,
    "submissions_open_per_account_max": 2,
    "batch_window_items_max": 8,
    "batch_items_max": 64,
    "proposals_pending_max": 2,
    "proposals_voting_max": 2,
    "upgrades_planned_max": 2,
    "undelegations_per_delegation_max": 2,
    "redelegations_per_delegation_max": 1,
    "delegations_per_account_max": 4,
    "maturities_per_block_max": 2,
    "workers_max": 6,
    "jobs_open_per_account_max": 2,
    "jobs_places_free": 2,
    "job_work_per_block_max": 10**9,
}
"""Small enough to be met in random histories."""
TICKETS_MIN = 2
"""So few tickets draw leaders, or workers without stake would lead in few histories."""
FULL_CHECK_BLOCKS = 250
"""All rows are compared every so often; in between those that a block changed."""
PARAMS_OF_SCENE = Params(
    base_fee_initial=100,
    block_weight_max=100_000,
    block_weight_target=24_000,
    valid_until_blocks_max=30,
    epoch_blocks=10,
    validators_max=8,
    evidence_epochs=2,
    validator_stake_min=Amount(1_000 * NANO),
    unbonding_blocks=30,
    downtime_epochs=2,
    jail_blocks=14,
    jail_share_max_bps=3_000,
    batch_items=4,
    batch_contributor_share_bps=5_000,
    batch_wait_blocks=4,
    seed_delay_blocks=2,
    seat_accept_blocks=3,
    report_commit_blocks=7,
    report_reveal_blocks=4,
    challenge_blocks=5,
    submission_reveal_blocks=6,
    grant_blocks=3,
    gold_reveal_blocks=4,
    proposal_deposit_min=Amount(50 * NANO),
    proposal_deposit_blocks=8,
    proposal_voting_blocks=9,
    proposal_timelock_blocks=4,
    gate_peer_evidence_min=6_000,
    gate_gold_evidence_min=2_000,
    commission_step_bps=6_000,
    commission_wait_blocks=20,
    reward_base_bps=2_000,
    reward_votes_bps=1_000,
    reward_reviews_bps=1_000,
    season_epochs=3,
    season_pool=Amount(77_777 * NANO // 1_000),
    season_places=4,
    participation_reward=Amount(NANO // 50),
    participation_account_max=Amount(NANO // 9),
    participation_pool=Amount(NANO // 3),
    competition_pool_min=Amount(NANO),
    worker_bond_min=Amount(300 * NANO),
    work_assigned_blocks=3,
    work_anchor_blocks_max=8,
    work_outputs_blocks=4,
    work_judge_blocks=12,
    work_job_blocks_max=100,
    work_chain_job_blocks=60,
    work_receipts_per_block_max=4,
    work_keep_blocks=15,
    synthetic_units_max=2,
    work_place_price=Amount(NANO // 1_000),
    work_fraud_bond=Amount(5 * NANO),
    work_base_price=Amount(1_000 * NANO),
    compute_bps=500,
)


def key_of(name: str) -> PublicKey:
    """A public key of nobody: signatures of accounts are the caller's business."""
    return PublicKey(sha256(name.encode()).digest())


TEAMS = {
    "team1": Policy(1, (key_of("ann"),)),
    "team2": Policy(2, tuple(sorted((key_of("ann"), key_of("ben"), key_of("cyd"))))),
    "team3": Policy(3, tuple(sorted((key_of("dan"), key_of("eva"), key_of("fay"))))),
}
"""Accounts of several keys."""


def address_of(name: str) -> Address:
    return TEAMS[name].address if name in TEAMS else Address(b"\0" + key_of(name))


def signed_by(member: bytes, message: bytes) -> Signature:
    """Stands for a member's signature: what is asked of the ledger is over what it asks for one."""
    return Signature(sha512(b"signed" + member + message).digest())


def transaction_of(encoded: bytes) -> Transaction | None:
    try:
        return decode(Transaction, encoded)
    except ProtocolError:
        return None


class KeyScheme(SimScheme):
    """Signatures of the simulation, for accounts too."""

    def verify_key(self, key: bytes, message: bytes, signature: bytes) -> bool:
        return signature == signed_by(key, message)


class Scene:
    """A chain with its model. Orders are made by ``orders``; nobody else knows both sides."""

    PEOPLE = ("bank", "ann", "ben", "cyd", "dan", "eva", "fay", "gus")
    VALIDATORS = tuple(f"val{place}" for place in range(6))
    STAKE = 20_000 * NANO

    def __init__(self, params: Params = PARAMS_OF_SCENE) -> None:
        self.patches = [mock.patch.object(limits, name, value) for name, value in LIMITS.items()]
        keys_max = LIMITS["session_keys_per_account_max"]
        self.patches.append(mock.patch.object(sessions, "session_keys_per_account_max", keys_max))
        self.patches.append(mock.patch.object(leaders, "TICKETS_MIN", TICKETS_MIN))
        for patch in self.patches:
            patch.start()
        self.scheme = KeyScheme()
        self.names = [*self.PEOPLE, *self.VALIDATORS, *TEAMS]
        self.by_address = {address_of(name): name for name in self.names}
        self.params = params
        self.genesis = self._genesis()
        self.rows = Rows()
        self.rows.apply(self.genesis.rows)
        self.start = self.rows.entries()
        self.commitment = commitment_of(self.start.items())
        self.model = self._model()
        self.told = Told(dict(self.model.balances))
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.sent = 0
        self.blocks: list[tuple[BlockContext, list[bytes]]] = []
        self.roots: list[Hash] = []
        self.memory: dict[str, Any] = {}
        """What those who make orders remember: salts, reports, keys."""
        check_everything(self.model, self.rows.tables)
        self.begin_block()

    def _genesis(self) -> Genesis:
        accounts = [GenesisAccount(address_of(name), Amount(20_000 * NANO)) for name in self.names]
        accounts[0] = GenesisAccount(accounts[0].address, Amount(600_000_000 * NANO))
        validators = [
            GenesisValidator(
                address_of(name),
                name,
                Amount(self.STAKE + place * NANO // 7),
                100,
                self.scheme.key(self.secret(name)),
                self.scheme.pop_prove(self.secret(name)),
            )
            for place, name in enumerate(self.VALIDATORS)
        ]
        return Genesis(CHAIN, TimeMs(0), self.params, tuple(accounts), tuple(validators))

    def _model(self) -> Model:
        balances = {row.address: int(row.balance) for row in self.genesis.accounts}
        for row in self.genesis.validators:
            balances[row.address] += row.stake
        limits_ = LIMITS | {"tickets_min": TICKETS_MIN}
        model = Model(CHAIN, asdict(self.params), limits_, self.scheme, balances, encode, transaction_of)
        voters = []
        for row in sorted(self.genesis.validators, key=lambda each: each.address):
            model.move(row.address, "stake", row.stake)
            model.enter_validator(row.address, row.stake, row.consensus_key, row.commission_bps, row.name)
            voters.append((row.address, row.consensus_key, row.stake // NANO))
        model.sets[0] = (bytes(32), tuple(voters))
        model.begin_epoch(0)
        return model

    def secret(self, name: str) -> bytes:
        secret = sha256(b"model" + name.encode()).digest()
        self.scheme.key(secret)
        return secret

    # -- blocks

    def begin_block(self) -> None:
        height = self.model.height + 1
        beacon = Hash(sha256(b"beacon" + height.to_bytes(8, "big")).digest())
        proposer = address_of(self.VALIDATORS[height % len(self.VALIDATORS)])
        params = self.rows.row(PARAMS, b"")
        self.ctx = BlockContext(
            CHAIN,
            Height(height),
            epoch_of(Height(height), params),
            TimeMs(1_000 * height),
            proposer,
            beacon,
            params,
            self.model.base_fee,
            self.scheme,
            self.scheme.verify_key,
            self.attended(height),
        )
        self.view = Overlay(self.rows)
        self.execution = Execution(self.view, self.ctx)
        self.taken: list[bytes] = []
        self.model.begin_block(height, 1_000 * height, beacon, proposer)
        self.in_accounts = sum(row.balance for row in self.rows.tables[ACCOUNTS.prefix].values())
        self.in_pots = sum(row.amount for row in self.rows.tables[POTS.prefix].values())

    def attended(self, height: int) -> tuple[int, ...]:
        """Whose votes a block says it has of the block below: some of the voters, and nobody's in an epoch's first."""
        if height % self.params.epoch_blocks == 1:
            return ()
        epoch = (height - 1) // self.params.epoch_blocks
        seen = sha256(b"attended%d" % height).digest()
        away = sha256(b"away%d" % (epoch // 3)).digest()
        voters = range(len(self.model.sets[epoch][1]))
        return tuple(place for place in voters if seen[place] < (200 if away[place] > 40 else 60))

    def order(self, who: Address, body: Any, **changes: Any) -> str:
        """Sends an order of an account; ``changes`` to its envelope. Says what became of it."""
        envelope = {
            "chain_id": CHAIN,
            "sender": who,
            "nonce": self.model.nonces.get(who, 0),
            "valid_until": Height(self.model.height + 5),
            "max_fee": Amount(self.max_fee(who)),
            "tip": Amount(0),
            "body": body,
            "signer": PublicKey(who[1:]),
        }
        return self.submit(prepare(unsigned(**(envelope | changes))))

    def max_fee(self, who: Address) -> int:
        return min(NANO * 10, int(self.model.balances.get(who, 0)))

    def submit(self, made: Prepared) -> str:
        prepared = prepare_encoded(made.encoded)  # what can't be decoded never reaches the ledger
        before = self.snapshot()
        code, expected = self._code(prepared), self._expected(prepared.transaction, len(prepared.encoded))
        assert code == expected, f"{prepared.transaction.body}: the ledger says {code}, the model {expected}"
        kind = prepared.transaction.body.KIND
        self.outcomes[kind, code] += 1
        self.sent += 1
        if code.startswith("-"):
            assert self.snapshot() == before, "a transaction that can't stand changed something"
            return code
        self.taken.append(prepared.encoded)
        if code != "ok":
            self._only_fee_and_nonce(before, prepared)
        self._conserved()
        return code

    def _code(self, prepared: Prepared) -> str:
        try:
            receipt = self.execution.apply(prepared)
        except Unpayable as refusal:
            return "-" + refusal.code
        assert bool(receipt.reason) == (not receipt.ok)
        assert receipt.ok or [event.kind for event in receipt.events] in ([], ["multisig.refused"])
        self.paid = receipt.fee + receipt.tip
        self.told.transaction(prepared.transaction.sender, receipt, self.ctx.proposer)
        self.used_up = bool(receipt.events) and not receipt.ok
        return receipt.code

    def _expected(self, transaction: Transaction, size: int) -> str:
        try:
            return self.model.judge(transaction, size)
        except ground.Unpayable as refusal:
            return "-" + refusal.code

    def snapshot(self) -> dict[int, dict[bytes, Any]]:
        return {prefix: dict(rows) for prefix, rows in self.view.changes_by_table().items() if rows}

    def _only_fee_and_nonce(self, before: dict[int, dict[bytes, Any]], prepared: Prepared) -> None:
        after, sender = self.snapshot(), prepared.transaction.sender
        was = before.get(ACCOUNTS.prefix, {}).pop(sender, None) or self.rows.row(ACCOUNTS, sender)
        now = after[ACCOUNTS.prefix].pop(sender)
        assert now == type(was)(was.balance - self.paid, was.nonce + 1)
        signer = prepared.transaction.signer
        if sender != b"\0" + signer:  # and what they took of a session key's allowance
            key = before.get(SESSION_KEYS.prefix, {}).pop(signer, None) or self.rows.row(SESSION_KEYS, signer)
            assert after.get(SESSION_KEYS.prefix, {}).pop(signer, None) == replace(
                key, allowance=key.allowance - self.paid
            )
        for rows in (before, after):
            for prefix in (ACCOUNTS.prefix, SESSION_KEYS.prefix):
                if not rows.get(prefix, True):
                    del rows[prefix]
        if self.used_up:  # the number of an account of several keys, and no more
            account = prepared.transaction.body.account
            old = before.get(MULTISIGS.prefix, {}).pop(account, None) or self.rows.row(MULTISIGS, account)
            new = after[MULTISIGS.prefix].pop(account)
            assert new.sequence == (old.sequence if old else 0) + 1
            for rows in (before, after):
                if not rows.get(MULTISIGS.prefix, True):
                    del rows[MULTISIGS.prefix]
        assert after == before, "a refused order changed more than fee and nonce"

    def _conserved(self) -> None:
        changes, flying = self.view.changes_by_table(), self.execution.burning + self.execution.tips
        accounts, pots = self.in_accounts, self.in_pots
        for key, row in changes.get(ACCOUNTS.prefix, {}).items():
            before = self.rows.row(ACCOUNTS, key)
            accounts += row.balance - (before.balance if before else 0)
            assert row.balance >= 0
            assert row.balance == self.model.balances.get(key, 0), (self.by_address.get(key), row)
        for key, row in changes.get(POTS.prefix, {}).items():
            before = self.rows.row(POTS, key)
            pots += row.amount - (before.amount if before else 0)
            assert row.amount >= 0
        assert pots == ground.SUPPLY, "a unit was made or lost"
        pot = self.view.get(POTS, b"accounts")
        assert pot is not None
        assert accounts + flying == pot.amount, "accounts hold another sum than they should"

    def end_block(self) -> None:
        outcome = self.execution.finish()
        self.model.end_block(self.ctx.attended)
        assert outcome.next_base_fee == self.model.base_fee
        check_supply(self.view)
        moved = sum(row.balance for row in self._accounts()) - self.in_accounts
        before = self.rows.row(POTS, b"accounts")
        pot = self.view.get(POTS, b"accounts")
        assert before is not None
        assert pot is not None
        check_account_sum(moved, before.amount, pot.amount)
        check_changes(self.model, self.view.changes_by_table())
        self.told.events(outcome.result.events)
        for key, row in self.view.changed(ACCOUNTS).items():
            assert row is not None
            assert row.balance == self.told.balances.get(key, 0), "events tell another balance"
        changes = self.rows.apply(self.view)
        assert all(number(key[:8]) > self.ctx.height for key in self.rows.keys[DUE.prefix][:1]), (
            "work is late"
        )
        self.commitment = self.commitment.changed(changes, no_page).commitment
        self.roots.append(self.commitment.root())
        self.blocks.append((self.ctx, self.taken))
        if self.ctx.height % FULL_CHECK_BLOCKS == 0:
            self.check_everything()
        self.begin_block()

    def check_everything(self) -> None:
        """Every row is the model's, the model's rows make up its pots, and events tell every balance."""
        check_everything(self.model, self.rows.tables)
        check_sums(self.model)
        held = {key: row.balance for key, row in self.rows.tables[ACCOUNTS.prefix].items() if row.balance}
        assert held == {key: balance for key, balance in self.told.balances.items() if balance}

    def _accounts(self) -> list[Any]:
        changed = self.view.changed(ACCOUNTS)
        held = self.rows.tables[ACCOUNTS.prefix]
        return [*changed.values(), *(row for key, row in held.items() if key not in changed)]

    # -- the end

    def close(self) -> None:
        """Drives what is under way to its end, then compares everything and plays it all again."""
        self.end_block()
        self.drive_to_the_end()
        self.check_everything()
        assert commitment_of(self.rows.entries().items()).root() == self.roots[-1]
        assert self.replayed() == self.roots

    def drive_to_the_end(self) -> None:
        from tests.model.orders import close_everything

        close_everything(self)
        for number_, row in self.model.campaigns.items():
            assert row.status in (2, 3, 4), f"campaign {number_} does not end"
            assert row.available == row.reward == row.review == row.escalation == 0
        for name in ("campaigns", "bonds", "work"):
            assert self.model.pots.get(name, 0) == 0, f"the pot {name} keeps {self.model.pots[name]}"

    def replayed(self) -> list[Hash]:
        """The roots that come out of the same blocks on a fresh store."""
        rows, roots = Rows(), []
        rows.apply(self.genesis.rows)
        commitment = commitment_of(rows.entries().items())
        for ctx, taken in self.blocks:
            view = Overlay(rows)
            apply_block(view, ctx, [prepare_encoded(data) for data in taken])
            commitment = commitment.changed(rows.apply(view), no_page).commitment
            roots.append(commitment.root())
        return roots

    def stop(self) -> None:
        for patch in self.patches:
            patch.stop()
        self.patches = []


def no_page(place: bytes) -> bytes:
    raise AssertionError("all pages are in memory")


def table_of(outcomes: Counter[tuple[str, str]]) -> str:
    """Every kind with what became of it."""
    kinds = sorted({kind for kind, _ in outcomes})
    lines = []
    for kind in kinds:
        codes = sorted(
            ((count, code) for (of, code), count in outcomes.items() if of == kind),
            key=lambda c: (c[1] != "ok", -c[0]),
        )
        lines.append(f"{kind:20} " + "  ".join(f"{code} {count}" for count, code in codes))
    return "\n".join(lines)
