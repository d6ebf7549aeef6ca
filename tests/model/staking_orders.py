"""Makes orders about delegated stake and its rewards."""

from __future__ import annotations

from typing import Any

from omnitensor.protocol import bodies
from omnitensor.protocol.types import NANO, Address, Amount
from tests.model.scene import Scene, address_of


def anybody(scene: Scene, chance: Any) -> Address:
    return address_of(chance.choice(scene.names))


def validator(scene: Scene, chance: Any) -> Address:
    """One that takes delegations; at times a removed one, or none."""
    register = scene.model.validators
    pick = chance.randrange(25)
    if pick == 0:
        return anybody(scene, chance)
    if pick == 1:
        return Address(chance.choice(list(register)))
    staying = [address for address, row in register.items() if not row.removed]
    return Address(chance.choice(staying or list(register)))


def delegation(scene: Scene, chance: Any) -> tuple[Address, Address]:
    """Who delegates to whom: one that is there, mostly."""
    known = list(scene.model.delegations)
    if not known or chance.randrange(15) == 0:
        return anybody(scene, chance), validator(scene, chance)
    who, to = chance.choice(known)
    return Address(who), Address(to)


def part(chance: Any, whole: int) -> Amount | None:
    """Of an amount: all, some, nothing, or too much."""
    pick = chance.randrange(10)
    if pick < 2:
        return None
    return Amount(max(0, [whole, whole + 1, 0, 1, whole - 1, whole // 2, whole // 3, whole - NANO][pick - 2]))


def delegate(scene: Scene, chance: Any) -> tuple[Address, Any]:
    who, to = anybody(scene, chance), validator(scene, chance)
    if chance.randrange(3) == 0:
        who, to = delegation(scene, chance)
    has = scene.model.balances.get(who, 0)
    amounts = [
        has // 20,
        has // 20,
        has // 7,
        777 * NANO + 7,
        NANO,
        NANO - 1,
        0,
        1,
        has,
        min(10**18, has + 1),
    ]
    return who, bodies.Delegate(to, Amount(chance.choice(amounts)))


def undelegate(scene: Scene, chance: Any) -> tuple[Address, Any]:
    who, to = delegation(scene, chance)
    leaving = [key[:2] for key in scene.model.undelegations]
    if leaving and chance.randrange(4) == 0:
        who, to = map(Address, chance.choice(leaving))  # until there are as many as there may be
    held = scene.model.delegations.get((who, to))
    worth = scene.model._worth(to, held.shares) if held else NANO
    return who, bodies.Undelegate(to, part(chance, worth))


def redelegate(scene: Scene, chance: Any) -> tuple[Address, Any]:
    who, source = delegation(scene, chance)
    held = scene.model.delegations.get((who, source))
    worth = scene.model._worth(source, held.shares) if held else NANO
    target = validator(scene, chance)
    again = [Address(each) for each in scene.model.validators if scene.model._under_way(who, each)]
    if again and chance.randrange(3) == 0:
        target = chance.choice(again)
    return who, bodies.Redelegate(source, target, part(chance, worth))


def rewards_claim(scene: Scene, chance: Any) -> tuple[Address, Any]:
    model = scene.model
    who, _ = delegation(scene, chance)
    if chance.randrange(3) == 0:
        who = Address(chance.choice(list(model.validators)))
        return who, bodies.RewardsClaim((who,))
    mine = [Address(to) for to in model.delegated_by(who)][: chance.randrange(1, 5)]
    named = mine if mine and chance.randrange(10) else [*mine, validator(scene, chance), who]
    return who, bodies.RewardsClaim(tuple(named))


def validator_unjail(scene: Scene, chance: Any) -> tuple[Address, Any]:
    jailed = [Address(address) for address, row in scene.model.validators.items() if row.jailed]
    who = chance.choice(jailed) if jailed and chance.randrange(8) else validator(scene, chance)
    return who, bodies.ValidatorUnjail()
