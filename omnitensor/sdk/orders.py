"""Signing, sending and following transactions, so that nothing is ever paid twice.

A transaction is signed once; the same bytes are sent again as often as needed, and a node takes them once. Another one is
signed in its place only when the first can never be included (its nonce is taken by another, or its time is over), and never
for an order that gives money away: that the first is dead is a node's word, and a node that keeps it could have both paid.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Final

import msgspec

from omnitensor.protocol import bodies
from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.bodies import Body, BodyBase, Scope
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.keys import format_address, parse_address, shown_addresses
from omnitensor.protocol.limits import transaction_bytes_max
from omnitensor.protocol.transactions import Transaction, unsigned, weight_of
from omnitensor.protocol.types import ADDRESS_BYTES, SUPPLY_MAX, Address, Amount, Height, PublicKey
from omnitensor.sdk import results
from omnitensor.sdk.errors import (
    FundsError,
    InputError,
    NonceUsedError,
    NotFoundError,
    RefusedError,
    RpcError,
    WaitTimeout,
)
from omnitensor.sdk.proven import ProvenReads
from omnitensor.sdk.reads import ChainIdentity
from omnitensor.sdk.ticker import Ticker
from omnitensor.sdk.transport import Transport
from omnitensor.sdk.trust import Trust
from omnitensor.sdk.wallet import Wallet

FEE_MARGIN: Final = 2
"""A transaction may pay up to this many times the base fee of now: room for half a dozen full blocks."""
VALID_FOR_BLOCKS: Final = 300
SPREAD: Final = 16
"""Two equal orders signed at the same time in two places are two orders. So their bytes differ by chance: in the largest fee and
in the time they are valid, by up to one part in so many. What is paid stays weight times base fee."""
POLL_S: Final = 2.0
WAIT_S: Final = 180.0
SIGNED_ANEW_MAX: Final = 5


class Fee(msgspec.Struct, frozen=True):
    """What a transaction will pay at the base fee of now, and the most that it may pay; nanoOMNIT."""

    weight: int
    base_fee: int
    expected: int
    max_fee: int


class Order(msgspec.Struct, frozen=True):
    """A signed transaction: canonical bytes as hexadecimal text, and its id."""

    tx: str
    id: str

    @property
    def encoded(self) -> bytes:
        return bytes.fromhex(self.tx)

    @property
    def transaction(self) -> Transaction:
        return decode(Transaction, self.encoded, transaction_bytes_max)


Journal = Callable[[Order], None]
"""Called with a signed order before it is sent: what it writes to disk lets a later process go on."""


class Orders(ProvenReads):
    """The writing half of a client."""

    def __init__(
        self, transport: Transport, expected: ChainIdentity | None = None, trust: Trust | None = None
    ) -> None:
        super().__init__(transport, expected, trust)
        self.ticker: Final = Ticker(transport)
        self._locks: dict[Address, asyncio.Lock] = {}

    async def close(self) -> None:
        """Close connections; nothing that was sent is undone."""
        await self.ticker.close()
        await self.transport.close()

    async def bind(self, wallet: Wallet) -> Wallet:
        """The wallet with its account: an API key's is looked up on chain. Raises NotFoundError for an unknown key."""
        if wallet.account is not None:
            return wallet
        try:
            found = await self.session(wallet.public)
        except NotFoundError as error:
            raise NotFoundError(
                "the API key is of no account of this chain, or was revoked",
                value=wallet.public.hex(),
                remedy="make one with: otensor-cli api-key create",
            ) from error
        return wallet.bound(parse_address(found.owner))

    async def estimate(self, wallet: Wallet, body: Body, *, tip: int = 0) -> Fee:
        """What `body` would cost now."""
        base_fee = (await self.status()).base_fee
        return fee_of(await self._draft(wallet, body, nonce=2**32, tip=tip), base_fee)

    async def sign(
        self, wallet: Wallet, body: Body, *, tip: int = 0, valid_for_blocks: int = VALID_FOR_BLOCKS
    ) -> Order:
        """Sign for the account's next nonce. Raises FundsError before anything is spent. Sends nothing."""
        wallet = await self.bind(wallet)
        await self._check_scope(wallet, body)
        status, account = await self.status(), await self.account(wallet.address)
        limit = min(valid_for_blocks, (await self.params()).valid_until_blocks_max)
        draft = await self._draft(wallet, body, nonce=account.next_nonce, tip=tip)
        fee = fee_of(draft, status.base_fee)
        fee = msgspec.structs.replace(fee, max_fee=fee.max_fee + secrets.randbelow(fee.max_fee // SPREAD + 1))
        limit -= secrets.randbelow(limit // SPREAD + 1)
        _check_funds(account, body, fee, tip)
        draft = msgspec.structs.replace(
            draft, max_fee=Amount(fee.max_fee), valid_until=Height(status.height + limit)
        )
        encoded = encode(wallet.sign(draft))
        if len(encoded) > transaction_bytes_max:
            raise InputError(
                "the transaction is too large",
                value=f"{len(encoded)} bytes",
                remedy=f"at most {transaction_bytes_max} bytes are taken: submit fewer items at a time",
            )
        return Order(encoded.hex(), draft.id.hex())

    async def send(self, order: Order) -> str:
        """Send signed bytes, again where no answer came. Raises what the node refuses them for."""
        await self.call("tx.submit", tx=order.tx)
        return order.id

    async def submit(
        self, wallet: Wallet, body: Body, *, tip: int = 0, journal: Journal | None = None
    ) -> Order:
        """Sign and send; returns when a node has taken it. Two submits of one account keep their order."""
        wallet = await self.bind(wallet)
        async with self._locks.setdefault(wallet.address, asyncio.Lock()):
            for _ in range(signings_max(body)):
                order = await self.sign(wallet, body, tip=tip)
                if journal is not None:
                    journal(order)
                if await self._taken(order):
                    return order
        raise NonceUsedError(
            "other transactions of this account keep taking the next nonce",
            value=wallet.text,
            remedy="send from one place at a time; look at the account's transactions, then try again",
        )

    async def execute(
        self,
        wallet: Wallet,
        body: Body,
        *,
        tip: int = 0,
        journal: Journal | None = None,
        timeout_s: float = WAIT_S,
    ) -> results.TransactionResult:
        """Sign, send, and wait until it is final. Raises RefusedError when the chain refused the order."""
        for attempt in range(signings_max(body)):
            order = await self.submit(wallet, body, tip=tip, journal=journal)
            try:
                return succeeded(await self.follow(order, timeout_s=timeout_s))
            except NonceUsedError:  # another order of this account took its place: it never can be included
                if attempt + 1 == signings_max(body):
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def deliver(self, order: Order, *, timeout_s: float = WAIT_S) -> results.TransactionResult:
        """See signed bytes through, whether or not they were sent before. Raises NonceUsedError when they never can be
        included (signing anew is then safe), RefusedError when the chain refused the order."""
        found = await self.transaction(order.id)
        if found.status == "unknown" and not await self._taken(order):
            raise _dead(order)
        return succeeded(await self.follow(order, timeout_s=timeout_s))

    async def follow(self, order: Order, *, timeout_s: float = WAIT_S) -> results.TransactionResult:
        """Wait until an order is final, sending it again should the node have lost it. Raises NonceUsedError or WaitTimeout."""
        until = time.monotonic() + timeout_s
        while True:
            found = await self.transaction(order.id)
            if found.status == "final":
                return found
            if found.status == "unknown" and not await self._taken(order):
                raise _dead(order)
            await self._tick(until, f"transaction {order.id} is not final yet")

    async def wait(self, tx_id: str, *, timeout_s: float = WAIT_S) -> results.TransactionResult:
        """Wait until a transaction is final, by subscription and by asking. Raises WaitTimeout; waiting again is safe."""
        until = time.monotonic() + timeout_s
        while True:
            found = await self.transaction(tx_id)
            if found.status == "final":
                return found
            await self._tick(until, f"transaction {tx_id} is not final yet")

    async def wait_height(self, height: int, *, timeout_s: float = WAIT_S) -> results.Status:
        """Wait until the chain is at a height."""
        until = time.monotonic() + timeout_s
        while (status := await self.status()).height < height:
            await self._tick(until, f"the chain is at height {status.height}, not at {height}")
        return status

    async def _tick(self, until: float, reason: str) -> None:
        left = until - time.monotonic()
        if left <= 0:
            raise WaitTimeout(reason, value=self.endpoint, remedy="ask again later; nothing is lost")
        await self.ticker.tick(min(left, POLL_S))

    async def _taken(self, order: Order) -> bool:
        """Send; True when a node took it or it is final already, False when it never can be included."""
        try:
            await self.send(order)
            return True
        except RpcError as error:
            if error.code == "duplicate":
                return True
            transaction = order.transaction
            if not await self._over(transaction):
                if error.code not in _NONCE_CODES:
                    raise
                # Another transaction with this nonce waits: one of the two will be final, and then it is known which.
                await self._nonce_passed(transaction)
        found = await self.transaction(order.id)
        return found.status in ("final", "pending")

    async def _nonce_passed(self, transaction: Transaction) -> None:
        until = time.monotonic() + WAIT_S
        while not await self._over(transaction):
            await self._tick(
                until, f"nonce {transaction.nonce} is taken by a transaction that is not final yet"
            )

    async def _over(self, transaction: Transaction) -> bool:
        """Whether a transaction that is not final now can never be. The height is read before the nonce."""
        height = (await self.status()).height
        account = await self.account(transaction.sender)
        return account.nonce > transaction.nonce or height > transaction.valid_until

    async def _draft(self, wallet: Wallet, body: Body, *, nonce: int, tip: int) -> Transaction:
        wallet = await self.bind(wallet)
        draft = widest(body, await self.chain_id())
        return msgspec.structs.replace(
            draft, sender=wallet.address, nonce=nonce, tip=Amount(tip), signer=wallet.public
        )

    async def _check_scope(self, wallet: Wallet, body: BodyBase) -> None:
        if not wallet.is_session:
            return
        if body.SCOPE is None:
            raise InputError(
                f"an API key can't order a {body.KIND}",
                value=wallet.text,
                remedy="log in with the account's own key: otensor-cli login",
            )
        session = await self.session(wallet.public)
        if body.SCOPE.name.lower() not in {scope.lower() for scope in session.scopes}:
            raise InputError(
                f"the API key lacks the scope {body.SCOPE.name.lower()}",
                value=", ".join(session.scopes) or "no scope",
                remedy=f"make one with: otensor-cli api-key create --scope {body.SCOPE.name.lower()}",
            )


_NONCE_CODES: Final = frozenset({"nonce", "nonce_gap", "replacement", "expired"})
"""Refusals after which it is seen within a few blocks whether a transaction can ever be included."""


def widest(body: Body, chain_id: str) -> Transaction:
    """An unsigned transaction of nobody whose numbers are at their widest: what a fee is reckoned from."""
    return unsigned(
        chain_id=chain_id,
        sender=Address(bytes(ADDRESS_BYTES)),
        nonce=2**32,
        valid_until=Height(2**32),
        max_fee=Amount(SUPPLY_MAX),
        tip=Amount(0),
        body=body,
        signer=PublicKey(bytes(32)),
    )


def fee_of(draft: Transaction, base_fee: int) -> Fee:
    """The fee of an unsigned transaction whose numbers are at their widest. Pure."""
    weight = int(weight_of(draft, len(encode(draft))))
    return Fee(weight, base_fee, weight * base_fee, weight * base_fee * FEE_MARGIN)


def spends(body: BodyBase) -> int:
    """nanoOMNIT that an order takes out of the sender's balance besides the fee."""
    match body:
        case (
            bodies.Transfer()
            | bodies.StakeAdd()
            | bodies.CampaignFund()
            | bodies.VaultGrant()
            | bodies.Delegate()
            | bodies.WorkerBondAdd()
        ):
            return body.amount
        case bodies.ValidatorRegister():
            return body.stake
        case bodies.ProposalSubmit():
            return body.deposit
        case bodies.ProposalDeposit() | bodies.WorkerBondAdd():
            return body.amount
        case bodies.WorkerRegister():
            return body.bond
        case bodies.JobPost():
            return body.escrow + body.place_max
        case bodies.CompetitionOpen():
            return body.pool
        case bodies.CampaignOpen():
            return body.budget
        case bodies.WorkerRegister():
            return body.bond
        case _:
            return 0


def succeeded(found: results.TransactionResult) -> results.TransactionResult:
    """A final transaction that did what it ordered. Raises RefusedError with the chain's reason."""
    if found.receipt is not None and not found.receipt.ok:
        raise RefusedError(
            shown_addresses(found.receipt.reason) or "the chain refused the order",
            code=found.receipt.code,
            tx=found.id,
            remedy=f"only the fee of {format_omnit(found.receipt.fee + found.receipt.tip)} was paid",
        )
    return found


def scope_names(mask: int) -> list[str]:
    """Names of a mask of scopes, for people."""
    return [scope.name.lower() for scope in Scope if mask & scope]


def signings_max(body: BodyBase) -> int:
    """How often an order may be signed: once where it gives money away, or moves a vault's."""
    return (
        1 if spends(body) or isinstance(body, bodies.VaultExecute | bodies.VaultWithdraw) else SIGNED_ANEW_MAX
    )


def _check_funds(account: results.AccountInfo, body: BodyBase, fee: Fee, tip: int) -> None:
    needed = spends(body) + fee.max_fee + tip
    if account.balance < needed:
        raise FundsError(
            f"the account has {format_omnit(account.balance)}; this needs {format_omnit(needed)}"
            f" (of which up to {format_omnit(fee.max_fee)} as a fee)",
            value=account.address,
            remedy=f"send at least {format_omnit(needed - account.balance)} to it",
        )


def _dead(order: Order) -> NonceUsedError:
    transaction = order.transaction
    return NonceUsedError(
        "the transaction can't be included any more: its nonce is taken, or its time is over",
        value=order.id,
        remedy=f"sign it again (it was nonce {transaction.nonce} of {format_address(transaction.sender)})",
    )
