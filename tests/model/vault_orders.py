"""Makes orders about vaults, right and wrong ones: grants, withdrawals, and what a vault may order."""

from __future__ import annotations

from typing import Any

from omnitensor.protocol import bodies
from omnitensor.protocol.types import NANO, Address, Amount, TimeMs
from tests.model import governance_orders, staking_orders
from tests.model.makers import Chance, Made, amount, anybody, often
from tests.model.scene import Scene


def vault_grant(scene: Scene, chance: Chance) -> Made:
    who, now = anybody(scene, chance), scene.model.time_ms
    holder = anybody(scene, chance) if often(chance, 0.95) else Address(b"\2" + bytes(32))
    start = max(0, now + 1_000 * chance.randrange(-20, 20))
    cliff = start + 1_000 * chance.randrange(20)
    end = cliff + 1_000 * chance.choice([0, 1, 30, 60])
    if chance.randrange(12) == 0:
        start, end = chance.choice([(end + 1, end), (0, 2**42), (0, 1)])
    has = scene.model.balances.get(who, 0)
    return who, bodies.VaultGrant(
        holder, amount(scene, chance, has // 90), TimeMs(start), TimeMs(cliff), TimeMs(end)
    )


def vault_withdraw(scene: Scene, chance: Chance) -> Made | None:
    known = list(scene.model.vaults)
    if not known:
        return None
    vault = Address(chance.choice(known[-12:]) if often(chance, 0.97) else b"\2" + bytes(32))
    row = scene.model.vaults.get(vault)
    who = Address(row.holder) if row and often(chance, 0.95) else anybody(scene, chance)
    has = scene.model.balances.get(vault, 0)
    return who, bodies.VaultWithdraw(vault, amount(scene, chance, chance.choice([has, has, has // 9])))


def vault_execute(scene: Scene, chance: Chance) -> Made | None:
    known = list(scene.model.vaults)[-12:]
    if not known:
        return None
    vault = Address(chance.choice(known))
    order: Any = None
    kind = chance.randrange(6)
    mine = [Address(to) for to in scene.model.delegated_by(vault)]
    if kind < 2 or not mine:
        has = scene.model.balances.get(vault, 0)
        amounts = [has // 2, has // 3, has, NANO, has + 1, 0]
        order = bodies.Delegate(staking_orders.validator(scene, chance), Amount(chance.choice(amounts)))
    elif kind == 2:
        worth = scene.model._worth(mine[0], scene.model.delegations[vault, mine[0]].shares)
        order = bodies.Undelegate(mine[0], staking_orders.part(chance, worth))
    elif kind == 3:
        order = bodies.Redelegate(mine[0], staking_orders.validator(scene, chance), None)
    elif kind == 4:
        order = bodies.RewardsClaim((mine[0],))
    else:
        made = governance_orders.proposal_vote(scene, chance)
        if made is None:
            return None
        order = made[1]
    row = scene.model.vaults[vault]
    who = Address(row.holder) if often(chance, 0.95) else anybody(scene, chance)
    return who, bodies.VaultExecute(vault, order)
