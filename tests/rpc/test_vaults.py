"""vault.get and vault.list over a real socket: schedules at the chain's time, pages, proofs, and what is not there."""

from __future__ import annotations

from omnitensor.light import check_row
from omnitensor.protocol.bodies import VaultGrant, VaultWithdraw
from omnitensor.protocol.codec import decode
from omnitensor.protocol.keys import format_address, parse_address
from omnitensor.protocol.rows import Vault, vault_key
from omnitensor.protocol.types import Amount, TimeMs
from tests.rpc.test_proofs import header_at, row
from tests.rpc.world import Client, TestBackend
from tests.state.chain_fixtures import START_MS, key

HOLDER = format_address(key("a1").address)


def grant(amount: int) -> VaultGrant:
    """Opens over forty seconds from genesis; blocks of these chains are a second apart."""
    return VaultGrant(
        key("a1").address, Amount(amount), TimeMs(START_MS), TimeMs(START_MS), TimeMs(START_MS + 40_000)
    )


async def test_vaults_show_what_has_vested(backend: TestBackend, client: Client) -> None:
    backend.commit(*((key("a0"), grant(amount)) for amount in (1_000, 2_000, 3_000)))
    backend.commit()
    shown = await client.call("vault.list", holder=HOLDER)
    assert shown["next"] is None
    assert sorted(int(each["total"]) for each in shown["vaults"]) == [1_000, 2_000, 3_000]
    for each in shown["vaults"]:
        assert int(each["vested"]) == int(each["withdrawable"]) == int(each["total"]) // 20
        assert (each["granter"], each["now_ms"]) == (format_address(key("a0").address), START_MS + 2_000)
    first = shown["vaults"][0]
    vault = parse_address(first["vault"])
    backend.commit((key("a1"), VaultWithdraw(vault, Amount(50))))
    after = await client.call("vault.get", vault=first["vault"], proof=True)
    assert int(after["balance"]) == int(first["total"]) - 50
    assert after["withdrawn"] == "50"
    value, proof = row(after["proof"])
    check_row(header_at(backend, 3), vault_key(vault), value, proof)
    assert value is not None
    assert decode(Vault, value).withdrawn == 50


async def test_pages_of_vaults(backend: TestBackend, client: Client) -> None:
    backend.commit(*((key("a0"), grant(amount)) for amount in range(1, 6)))
    found, cursor = [], None
    for _ in range(3):
        more = {} if cursor is None else {"cursor": cursor}
        page = await client.call("vault.list", holder=HOLDER, limit=2, **more)
        found += [each["vault"] for each in page["vaults"]]
        cursor = page["next"]
    assert cursor is None
    assert len(set(found)) == 5
    assert (await client.call("vault.list", holder=format_address(key("a2").address)))["vaults"] == []


async def test_wrong_vaults(client: Client) -> None:
    assert (await client.fault("vault.get", {"vault": HOLDER}))[1] == "not_found"
    assert (await client.fault("vault.list", {"holder": "nobody"}))[0] == -32602
