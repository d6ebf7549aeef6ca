"""Objecting to what others did: appeals of verdicts, and showing reports that leaked or were signed twice.

Each is one order of any account's; what it costs or brings is the ledger's to say.
"""

from __future__ import annotations

from pathlib import Path

from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.bodies import ItemAppeal, ReportContradiction, ReportLeak
from omnitensor.protocol.keys import parse_address
from omnitensor.protocol.reviews import report_commitment
from omnitensor.protocol.types import BatchId, Hash, ItemId
from omnitensor.sdk import results
from omnitensor.sdk.actor import AsyncActor, async_of, made_in_loop
from omnitensor.sdk.client import Client
from omnitensor.sdk.errors import FileError, FundsError, InputError
from omnitensor.sdk.home import Home
from omnitensor.sdk.loops import Blocking, blocking
from omnitensor.sdk.wallet import Wallet


class AsyncObjector(AsyncActor):
    """Objects, in the name of one account."""

    async def appeal_bond(self, item: int) -> int:
        """What an appeal of this item's verdict lays down, in nanoOMNIT. Raises InputError where it can't be appealed."""
        found = await self.client.item(item)
        if found.appeal_until is None:
            raise InputError(
                f"item {item} is {found.status}, and has no verdict that can be appealed now",
                value=item,
                remedy="appeal after a first verdict, before its challenge window ends",
            )
        spec = (await self.client.campaign(found.campaign)).spec
        fee = spec.review_fee * spec.tier_bps[found.tier] // 10_000
        return spec.second_seats * fee

    async def appeal(self, item: int) -> results.TransactionResult:
        """Ask for a second round about a verdict. Raises InputError, FundsError or RefusedError.

        A rejection is its contributor's to appeal, an acceptance anybody else's. The bond returns if the verdict turns.
        """
        bond = await self.appeal_bond(item)
        wallet = await self.wallet()
        balance = (await self.client.account(wallet.address)).balance
        if balance < bond:
            raise FundsError(
                f"an appeal lays down {format_omnit(bond)}",
                value=format_omnit(balance),
                remedy="add money to the account",
            )
        return await self.client.execute(wallet, ItemAppeal(ItemId(item)))

    async def show_leak(
        self, batch: int, round_: int, validator: str, salt: bytes, report: bytes
    ) -> results.TransactionResult:
        """Open another's committed report before its time; half of the seat's bond is the sender's. Raises InputError."""
        address = parse_address(validator)
        sealed = await self.client.sealed(batch, round_, validator)
        made = report_commitment(
            await self.client.chain_id(), BatchId(batch), round_, address, Hash(salt), report
        )
        if made.hex() != sealed.commitment:
            raise InputError(
                "this report and this salt do not open the commitment",
                value=sealed.commitment,
                remedy="give exactly what that validator committed",
            )
        body = ReportLeak(BatchId(batch), round_, address, Hash(salt), report)
        return await self.client.execute(await self.wallet(), body)

    async def show_contradiction(
        self, first: str | Path | bytes, second: str | Path | bytes
    ) -> results.TransactionResult:
        """Show two signed transactions, as bytes or files of them, that commit one seat to different reports."""
        body = ReportContradiction(_bytes_of(first), _bytes_of(second))
        return await self.client.execute(await self.wallet(), body)


def _bytes_of(given: str | Path | bytes) -> bytes:
    if isinstance(given, bytes):
        return given
    try:
        data = Path(given).read_bytes()
    except OSError as error:
        raise FileError(
            f"the file can't be read ({error.strerror})", value=given, remedy="check its name"
        ) from error
    try:
        return bytes.fromhex(data.decode("ascii").strip())
    except ValueError:
        return data


def report_bytes(text: str) -> bytes:
    """A report's bytes from hexadecimal text. Raises InputError."""
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise InputError(
            "not hexadecimal", value=text[:32], remedy="four bytes an item, as hexadecimal"
        ) from error


class Objector(Blocking[AsyncObjector]):
    """The blocking twin of AsyncObjector."""

    def __init__(
        self,
        wallet: Wallet,
        *,
        endpoint: str | None = None,
        client: Client | None = None,
        home: Home | str | Path | None = None,
    ) -> None:
        super().__init__(
            made_in_loop(lambda: AsyncObjector(wallet, endpoint=endpoint, client=async_of(client), home=home))
        )

    appeal_bond = blocking(AsyncObjector.appeal_bond)
    appeal = blocking(AsyncObjector.appeal)
    show_leak = blocking(AsyncObjector.show_leak)
    show_contradiction = blocking(AsyncObjector.show_contradiction)
