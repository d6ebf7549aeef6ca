"""Makes orders of every kind, right ones and wrong ones, from a source of chance. Looks at the model to see what could be right.

``chance`` has the methods of ``random.Random``; Hypothesis' randoms do as well, and shrink.
"""

from __future__ import annotations

from typing import Any

from omnitensor.protocol import bodies
from omnitensor.protocol.codec import encode
from omnitensor.protocol.multisig import MemberSignature, Policy, order_message
from omnitensor.protocol.types import NANO, Address, Amount, Hash, Height
from state.ledger.prepared import prepare_encoded
from tests.model import (
    evidence_orders,
    governance_orders,
    privacy_orders,
    review_orders,
    staking_orders,
    vault_orders,
    work_orders,
)
from tests.model.makers import (
    Chance,
    campaign_close,
    campaign_fund,
    campaign_open,
    competition_open,
    often,
    open_campaigns,
    report_commit,
    report_reveal,
    seat_accept,
    seat_decline,
    session_key,
    session_key_add,
    session_key_remove,
    stake_add,
    stake_withdraw,
    submission_commit,
    submission_reveal,
    transfer,
    validator_edit,
    validator_register,
)
from tests.model.money import SCOPES
from tests.model.scene import TEAMS, Scene, address_of, signed_by

ORDERS: dict[str, tuple[int, Any]] = {
    "vault_execute": (4, vault_orders.vault_execute),
    "delegate": (7, staking_orders.delegate),
    "undelegate": (4, staking_orders.undelegate),
    "redelegate": (4, staking_orders.redelegate),
    "rewards_claim": (4, staking_orders.rewards_claim),
    "vault_grant": (2, vault_orders.vault_grant),
    "vault_withdraw": (3, vault_orders.vault_withdraw),
    "proposal_submit": (2, governance_orders.proposal_submit),
    "proposal_deposit": (2, governance_orders.proposal_deposit),
    "proposal_vote": (9, governance_orders.proposal_vote),
    "proposal_cancel": (1, governance_orders.proposal_cancel),
    "transfer": (14, transfer),
    "session_key_add": (4, session_key_add),
    "session_key_remove": (2, session_key_remove),
    "validator_register": (2, validator_register),
    "validator_edit": (2, validator_edit),
    "validator_unjail": (1, staking_orders.validator_unjail),
    "stake_add": (3, stake_add),
    "stake_withdraw": (4, stake_withdraw),
    "evidence_submit": (2, evidence_orders.evidence_submit),
    "campaign_open": (2, campaign_open),
    "campaign_fund": (2, campaign_fund),
    "campaign_close": (1, campaign_close),
    "submission_commit": (9, submission_commit),
    "submission_reveal": (9, submission_reveal),
    "seat_accept": (5, seat_accept),
    "seat_decline": (2, seat_decline),
    "competition_open": (2, competition_open),
    "campaign_cancel": (1, review_orders.campaign_cancel),
    "item_appeal": (4, review_orders.item_appeal),
    "gold_commit": (3, review_orders.gold_commit),
    "gold_reveal": (4, review_orders.gold_reveal),
    "gold_retire": (1, review_orders.gold_retire),
    "report_leak": (1, review_orders.report_leak),
    "report_contradiction": (1, review_orders.report_contradiction),
    "reading_key_set": (4, privacy_orders.reading_key_set),
    "keys_grant": (24, privacy_orders.keys_grant),
    "plain_duplicate": (8, privacy_orders.plain_duplicate),
    "report_commit": (22, report_commit),
    "report_reveal": (18, report_reveal),
    **work_orders.ORDERS,
}
"""How often each kind is tried, and what makes it."""
TRIED = (*ORDERS, "multisig_execute")
"""Kinds that come up: an account of several keys orders what others order, in a wrapping of its own."""
KINDS = [kind for kind, (weight, _) in ORDERS.items() for _ in range(weight)]


def step(scene: Scene, chance: Chance, kind: str) -> str | None:
    """One order of a kind, in a right envelope or a wrong one. Says what became of it; None where nothing could be made."""
    if chance.randrange(60) == 0 and scene.taken:
        return scene.submit(prepare_encoded(chance.choice(scene.taken)))
    made = ORDERS[kind][1](scene, chance)
    if made is None:
        return None
    who, body = made
    if who[0] == 1 and not (body.KIND in SCOPES and often(chance, 0.3)):
        return multisig_execute(scene, chance, who, body)
    return scene.order(who, body, **envelope(scene, chance, who, body))


def multisig_execute(scene: Scene, chance: Chance, account: Address, order: Any) -> str:
    """Somebody sends what the members of an account ordered; at times not as they should."""
    policy = next(policy for policy in TEAMS.values() if policy.address == account)
    sequence = scene.model.multisigs.get(account, (None, 0))[1]
    places = sorted(chance.sample(range(len(policy.members)), policy.threshold))
    valid_until = Height(scene.model.height + chance.randrange(3))
    wrong = chance.choice(WRONG_TEAMS) if chance.randrange(5) == 0 else ""
    if wrong == "sequence":
        sequence = max(0, sequence + chance.choice([-1, 1]))
    if wrong == "expired":
        valid_until = Height(max(0, scene.model.height - 1))
    if wrong == "places":
        places = chance.choice([places[::-1], [*places, places[-1]], places[1:] or [5], [99] * len(places)])
    if wrong == "members":
        policy = chance.choice(
            [
                Policy(policy.threshold, policy.members[::-1]),
                Policy(policy.threshold, (*policy.members, policy.members[-1])),
                Policy(len(policy.members) + 1, policy.members),
                Policy(0, policy.members),
            ]
        )
    if wrong == "account":
        account = chance.choice([policy.address for policy in TEAMS.values()])
    message = order_message(scene.ctx.chain_id, account, sequence, valid_until, encode(order))
    if wrong == "signature":
        message = Hash(bytes(32))
    signatures = tuple(
        MemberSignature(place, signed_by(policy.members[place % len(policy.members)], message))
        for place in places
    )
    body = bodies.MultisigExecute(policy, account, sequence, valid_until, order, signatures)
    who = address_of(chance.choice([*scene.PEOPLE, "team1"]))
    return scene.order(who, body, **envelope(scene, chance, who, body))


WRONG_TEAMS = ("sequence", "expired", "places", "members", "account", "signature")


def envelope(scene: Scene, chance: Chance, who: Address, body: Any) -> dict[str, Any]:
    """What differs from a right envelope: mostly nothing, or a tip, or a session key's signature; at times something wrong."""
    model, changes = scene.model, {}
    if chance.randrange(3) == 0:
        changes["tip"] = Amount(chance.choice([1, 1000, NANO // 9]))
        changes["max_fee"] = Amount(
            max(0, min(scene.max_fee(who), model.balances.get(who, 0) - changes["tip"]))
        )
    keys = [key for key in model.sessions if model.sessions[key][0] == who]
    if keys and body.KIND in SCOPES and often(chance, 0.4):
        able = [
            key
            for key in keys
            if model.sessions[key][1] & SCOPES[body.KIND] and model.sessions[key][2] >= model.height
        ]
        if able or chance.randrange(8) == 0:
            changes["signer"] = chance.choice(able or keys)
            if often(chance):
                left = model.sessions[changes["signer"]][3] - changes.get("tip", 0)
                changes["max_fee"] = Amount(max(0, min(left, changes.get("max_fee", scene.max_fee(who)))))
    if often(chance, 0.94):
        return changes
    wrong = {
        "nonce": max(0, model.nonces.get(who, 0) + chance.choice([-1, 1, 2**40])),
        "valid_until": Height(max(0, model.height + chance.choice([-1, 0, 30, 31, 2**50]))),
        "chain_id": "elsewhere",
        "max_fee": Amount(chance.choice([0, 1000, 10**18])),
        "tip": Amount(chance.choice([10**18, NANO])),
        "signer": chance.choice([session_key(chance), *keys]),
        "sender": Address(b"\2" + who[1:]),
    }
    name = chance.choice(sorted(wrong))
    return changes | {name: wrong[name]}


def team_closes(scene: Scene, account: Address, number: int) -> None:
    policy = next(policy for policy in TEAMS.values() if policy.address == account)
    sequence = scene.model.multisigs.get(account, (None, 0))[1]
    order, until = bodies.CampaignClose(number), Height(scene.model.height)
    message = order_message(scene.ctx.chain_id, account, sequence, until, encode(order))
    signatures = tuple(
        MemberSignature(place, signed_by(policy.members[place], message)) for place in range(policy.threshold)
    )
    body = bodies.MultisigExecute(policy, account, sequence, until, order, signatures)
    assert scene.order(address_of("bank"), body) == "ok"


def close_everything(scene: Scene) -> None:
    """Sponsors close what they opened; then blocks without orders until nothing is under way."""
    for number in open_campaigns(scene):
        sponsor = Address(scene.model.campaigns[number].sponsor)
        if sponsor[0] == 1:
            team_closes(scene, sponsor, number)
            continue
        if scene.model.balances.get(sponsor, 0) < 10 * NANO:
            assert scene.order(address_of("bank"), bodies.Transfer(sponsor, Amount(20 * NANO))) == "ok"
        assert scene.order(sponsor, bodies.CampaignClose(number), max_fee=Amount(10 * NANO)) == "ok"
        if scene.model.weight > 50_000:
            scene.end_block()
    for _ in range(200):
        scene.end_block()
        ended = not scene.model.living_campaigns() and not scene.model.gold_due
        if ended and all(row.status >= 3 for row in scene.model.jobs.values()):
            return
