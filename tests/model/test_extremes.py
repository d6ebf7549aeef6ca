"""Every order with each field at the extremes of its type, on a chain where what it names is there: refused, or carried out.

What is carried out is followed for some blocks, since a number that an order left behind is met again by a step at a block's end.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from msgspec.structs import replace

from omnitensor.protocol import bodies
from omnitensor.protocol.codec import encode
from omnitensor.protocol.epochs import epoch_of
from omnitensor.protocol.multisig import order_message
from omnitensor.protocol.reviews import items_root, report_commitment, submission_commitment
from omnitensor.protocol.transactions import unsigned
from omnitensor.protocol.types import NANO, Address, Amount, Hash, Height, PublicKey, TimeMs
from state.ledger.accounts import NO_ACCOUNT, Pot
from state.ledger.errors import Unpayable
from state.ledger.prepared import prepare, prepare_encoded
from state.ledger.supply import check_supply
from state.ledger.transition import Execution
from state.overlay import Overlay
from state.records import PotTotal
from state.schema import ACCOUNTS, PARAMS, POTS, SEATS, SUBMISSIONS
from tests.extremes import NUMBERS, is_decodable, walk
from tests.model.histories import BLOCK_END
from tests.model.orders import KINDS, TRIED, step
from tests.model.rows import Rows
from tests.model.scene import CHAIN, Scene, signed_by

SEED = 4
ORDERS_MAX = 6_000
"""It is over once every kind was carried out, which takes about half as many."""
FOLLOWED = 14
"""Blocks that are played after what was carried out: more than an epoch."""


class Extreme(Scene):
    """A history in which the first orders of each kind that are carried out are tried in all their variants before."""

    def __init__(self) -> None:
        self.tried: Counter[str] = Counter()
        self.faults: list[str] = []
        super().__init__()

    def order(self, who: Address, body: Any, **changes: Any) -> str:
        if not self.tried[body.KIND] and not changes and self.is_carried_out(who, body):
            self.tried[body.KIND] += 1
            self.try_all(who, body)
        return super().order(who, body, **changes)

    def is_carried_out(self, who: Address, body: Any) -> bool:
        execution = self.fork(who)
        return self.code(execution, who, body) == "ok"

    def fork(self, who: Address) -> Execution:
        """The block under way once more, on rows of its own, where the sender has half of all the reserve as well."""
        view = Overlay(self.view)
        half = (view.get(POTS, Pot.RESERVE.value) or PotTotal(Amount(0))).amount // 2
        for pot, change in ((Pot.RESERVE, -half), (Pot.ACCOUNTS, half)):
            row = view.get(POTS, pot.value)
            assert row is not None
            view.put(POTS, PotTotal(Amount(row.amount + change)), pot.value)
        account = view.get(ACCOUNTS, who) or NO_ACCOUNT
        view.put(ACCOUNTS, replace(account, balance=Amount(account.balance + half)), who)
        execution = Execution(view, self.ctx)
        execution.burning, execution.tips = self.execution.burning, self.execution.tips
        return execution

    def code(self, execution: Execution, who: Address, body: Any, **changes: Any) -> str:
        """What becomes of an order; what a ledger must never raise comes out of here."""
        account = execution.view.get(ACCOUNTS, who)
        assert account is not None
        envelope = {
            "chain_id": CHAIN,
            "sender": who,
            "nonce": account.nonce,
            "valid_until": Height(self.ctx.height + 5),
            "max_fee": Amount(min(NANO, account.balance)),
            "tip": Amount(0),
            "body": body,
            "signer": PublicKey(who[1:]),
        }
        prepared = prepare_encoded(prepare(unsigned(**(envelope | changes))).encoded)
        execution.weight_used = 0
        try:
            receipt = execution.apply(prepared)
        except Unpayable as refusal:
            return "-" + refusal.code
        encode(receipt)
        return receipt.code

    def try_all(self, who: Address, body: Any) -> None:
        execution = self.fork(who)
        view, carried_out = execution.view, []
        for path, variant in variants(self.ctx.height, body):
            if not is_decodable(variant):
                continue
            mark, burning = view.mark(), execution.burning
            made = self.bound(view, who, body, variant)
            try:
                code = self.code(execution, who, made)
            except Exception as error:  # whatever it is, it is what is looked for
                self.faults.append(f"{body.KIND}{path}: {error!r}")
                code = "fault"
            view.rollback(mark)
            execution.burning = burning
            if code == "ok":
                carried_out.append((path, made))
        self.follow(who, body, carried_out)

    def bound(self, view: Overlay, who: Address, body: Any, variant: Any) -> Any:
        """The variant with what binds it: signatures of members, and commitments that were given as if to it."""
        match variant:
            case bodies.MultisigExecute(policy, account, sequence, valid_until, order, signatures):
                message = order_message(CHAIN, account, sequence, valid_until, encode(order))
                signed = tuple(
                    replace(each, signature=signed_by(policy.members[each.member], message))
                    if each.member < len(policy.members)
                    else each
                    for each in signatures
                )
                return replace(variant, signatures=signed)
            case bodies.SubmissionReveal(campaign, commitment, salt, items):
                row = view.get(SUBMISSIONS, body.campaign, body.commitment, who)
                if row is None or commitment != body.commitment or variant == body:
                    return variant
                made = Hash(submission_commitment(CHAIN, campaign, items_root(items), who, salt))
                view.put(SUBMISSIONS, replace(row, count=len(items)), campaign, made, who)
                return replace(variant, commitment=made)
            case bodies.ReportReveal(batch, round_, salt, report):
                seat = view.get(SEATS, batch, round_, who)
                if seat is not None:
                    made = Hash(report_commitment(CHAIN, batch, round_, who, salt, report))
                    view.put(SEATS, replace(seat, commitment=made), batch, round_, who)
        return variant

    def follow(self, who: Address, body: Any, carried_out: list[tuple[str, Any]]) -> None:
        """Blocks after all that could be carried out, each as far as those before it let it."""
        execution = self.fork(who)
        for path, variant in carried_out:
            try:
                self.code(execution, who, self.bound(execution.view, who, body, variant))
            except Exception as error:  # see above
                self.faults.append(f"{body.KIND}{path}, after others: {error!r}")
        ctx, base = self.ctx, Rows()
        base.tables = {prefix: dict(rows) for prefix, rows in self.rows.tables.items()}
        base.keys = {prefix: list(keys) for prefix, keys in self.rows.keys.items()}
        base.apply(self.view)
        try:
            for _ in range(FOLLOWED):
                execution.weight_used = 0
                outcome = execution.finish()
                encode(outcome.result)
                check_supply(execution.view)
                base.apply(execution.view)
                height = Height(ctx.height + 1)
                params = base.row(PARAMS, b"")
                ctx = dataclasses.replace(
                    ctx,
                    height=height,
                    epoch=epoch_of(height, params),
                    timestamp_ms=TimeMs(ctx.timestamp_ms + 1_000),
                    beacon=Hash(sha256(ctx.beacon).digest()),
                    params=params,
                    base_fee=outcome.next_base_fee,
                    attended=(),
                )
                execution = Execution(Overlay(base), ctx)
        except Exception as error:  # see above
            self.faults.append(f"{body.KIND}, {ctx.height - self.ctx.height} blocks later: {error!r}")


def variants(height: int, body: Any) -> Iterator[tuple[str, Any]]:
    """The order itself, and with each field at its extremes; also around heights that matter now."""
    yield "", body
    if isinstance(body, bodies.EvidenceSubmit):
        yield from of_both(body)
    yield from walk(body, near=(height - 1, height, height + 1, height + 100, 100, 101))


def of_both(body: bodies.EvidenceSubmit) -> Iterator[tuple[str, Any]]:
    """Evidence is of one epoch and view: what differs in both messages alike."""
    first, second = body.evidence.messages
    for field in ("epoch", "view", "signer"):
        if hasattr(first, field):
            for number in NUMBERS:
                pair = [replace(message, **{field: number}) for message in (first, second)]
                yield f".evidence.both.{field}={number}", replace(body, evidence=type(body.evidence)(*pair))


def test_no_order_at_the_extremes_of_its_fields_is_more_than_refused() -> None:
    scene, chance = Extreme(), random.Random(SEED)
    try:
        while not all(scene.tried[kind] for kind in TRIED) and scene.sent < ORDERS_MAX:
            if chance.randrange(BLOCK_END) == 0:
                scene.end_block()
                continue
            wanted = [kind for kind in KINDS if not scene.tried[kind]] if chance.randrange(4) == 0 else []
            step(scene, chance, chance.choice(wanted or KINDS))
    finally:
        scene.stop()
    assert not scene.faults, scene.faults
    assert all(scene.tried[kind] for kind in TRIED), "every kind was carried out, and tried"
