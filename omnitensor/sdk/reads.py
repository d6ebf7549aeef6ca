"""Everything that a node can be asked, typed. Reads only; signing and sending are in ``orders``."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterator
from typing import Any, Final, Protocol, TypeVar

from omnitensor.light import ProofError, check_finality, check_header_chain
from omnitensor.protocol.blocks import Header
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.keys import format_address, parse_address
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Address
from omnitensor.protocol.votes import ValidatorTable
from omnitensor.sdk import results
from omnitensor.sdk.errors import NotFoundError, WrongChainError
from omnitensor.sdk.proofs import header_from, proof_from, table_from
from omnitensor.sdk.results import Cursor, hash_given, read
from omnitensor.sdk.results_account import MultisigInfo, VaultInfo, VaultPage
from omnitensor.sdk.transport import Transport

T = TypeVar("T")


class Page(Protocol):
    """A page of a list: where it goes on."""

    @property
    def next(self) -> Cursor: ...


Paged = TypeVar("Paged", bound=Page)

PAGE_ITEMS: Final = 100
HEADERS_WITHOUT_PROOF_MAX: Final = 256
PARAMS_FRESH_S: Final = 30.0
"""For so long an answer about the parameters is used again."""
PAGES_MAX: Final = 10_000
"""Bound on walking through a list, so that a node that always says "there is more" is left."""


@dataclasses.dataclass(frozen=True, slots=True)
class ChainIdentity:
    """Which chain a node is of."""

    chain_id: str
    genesis_hash: str


class Reads:
    """The reading half of a client."""

    def __init__(self, transport: Transport, expected: ChainIdentity | None = None) -> None:
        self.transport: Final = transport
        self.expected: Final = expected
        self._identity: ChainIdentity | None = None
        self._params: tuple[float, Params] | None = None

    @property
    def endpoint(self) -> str:
        """The node's address."""
        return self.transport.endpoint

    async def call(self, method: str, /, **params: Any) -> Any:
        """The plain JSON result of any method. Parameters that are None are left out."""
        if self.expected is not None and self._identity is None and method != "chain.status":
            await self.status()  # before anything that a node of another chain says is taken for this one's
        given = {name: value for name, value in params.items() if value is not None}
        return await self.transport.call(method, given)

    async def _ask(self, kind: type[T], method: str, **params: Any) -> T:
        return read(kind, await self.call(method, **params), method)

    async def _pages(self, kind: type[Paged], method: str, **params: Any) -> AsyncIterator[Paged]:
        """All pages of a list, one after the other."""
        cursor: Cursor = None
        for _ in range(PAGES_MAX):
            page = await self._ask(kind, method, cursor=cursor, limit=PAGE_ITEMS, **params)
            yield page
            cursor = page.next
            if cursor is None:
                return

    # -- chain

    async def status(self) -> results.Status:
        """Height, base fee, and whether the node is still catching up. Raises WrongChainError."""
        status = await self._ask(results.Status, "chain.status")
        self._identity = ChainIdentity(status.chain_id, status.genesis_hash)
        if self.expected is not None and self.expected != self._identity:
            raise WrongChainError(
                f"the node is of another chain than {_shown(self.expected)}",
                value=_shown(self._identity),
                remedy=f"name a node of {self.expected.chain_id} with --endpoint, or log in again for this chain",
            )
        return status

    async def identity(self) -> ChainIdentity:
        """Which chain the node is of; asked once. Raises WrongChainError."""
        if self._identity is None:
            await self.status()
        assert self._identity is not None
        return self._identity

    async def chain_id(self) -> str:
        return (await self.identity()).chain_id

    async def params(self) -> Params:
        """The chain's parameters; asked again after a while, since votes change them."""
        if self._params is None or time.monotonic() - self._params[0] > PARAMS_FRESH_S:
            answer = await self._ask(dict[str, Any], "chain.params")
            plain = [answer.get(field, getattr(Params(), field)) for field in Params.__struct_fields__]
            self._params = time.monotonic(), read(Params, plain, "chain.params")
        return self._params[1]

    async def block(self, *, height: int | None = None, hash: str | None = None) -> results.BlockInfo:
        """A block by height or hash; the head without either."""
        return await self._ask(
            results.BlockInfo, "chain.block", height=height, hash=hash_given(hash) if hash else None
        )

    async def verified_header(self, height: int, table: ValidatorTable) -> Header:
        """The header of a block that a quorum of `table` made final, checked here: no node is believed. Raises ProofError.

        Where the node holds no proof for that block itself, the headers above it up to one with a proof are checked.
        """
        headers: list[Header] = []
        for above in range(height, height + HEADERS_WITHOUT_PROOF_MAX):
            found = await self.block(height=above)
            headers.append(header_from(found.header))
            if found.proof is not None:
                check_finality(headers[-1], proof_from(found.proof), table)
                check_header_chain(headers)
                if headers[0].height != height:
                    raise ProofError("the node sent a block of another height", value=headers[0].height)
                return headers[0]
        raise ProofError(
            "the node has no proof of finality near this height", value=height, remedy="ask another node"
        )

    async def validator_table(self, epoch: int | None = None) -> ValidatorTable:
        """The voters that the node names; compare its hash with one from elsewhere before trusting it."""
        return table_from(await self.voters(epoch))

    async def voters(self, epoch: int | None = None) -> results.Voters:
        """The validator table of an epoch (without a number, of the one that votes now), and who would vote in the next."""
        return await self._ask(results.Voters, "chain.validators", epoch=epoch)

    async def state_row(self, key: bytes) -> results.RowProof:
        """A row of the state with its proof, unchecked."""
        return await self._ask(results.RowProof, "state.row", key=key.hex())

    async def supply(self) -> dict[str, Any]:
        """Where every unit is: accounts, modules, burned; decimal text of nanoOMNIT."""
        return await self._ask(dict[str, Any], "chain.supply")

    # -- accounts and transactions

    async def account(self, address: Address | str) -> results.AccountInfo:
        return await self._ask(results.AccountInfo, "account.get", address=address_text(address))

    async def session(self, key: bytes) -> results.SessionInfo:
        """Whose session key this is. Raises NotFoundError."""
        return await self._ask(results.SessionInfo, "account.session", key=key.hex())

    async def multisig(self, address: Address | str) -> MultisigInfo:
        """An account of several keys: its next sequence number, and its members once it has ordered something."""
        return await self._ask(MultisigInfo, "account.multisig", address=address_text(address))

    async def vaults(self, holder: Address | str) -> list[VaultInfo]:
        """Every vault of a holder, with what it can take out now."""
        pages = self._pages(VaultPage, "vault.list", holder=address_text(holder))
        return [each async for page in pages for each in page.vaults]

    async def vault(self, address: Address | str) -> VaultInfo:
        """One vault. Raises NotFoundError."""
        return await self._ask(VaultInfo, "vault.get", vault=address_text(address))

    async def rewards(self, address: Address | str) -> results.Rewards:
        return await self._ask(results.Rewards, "account.rewards", address=address_text(address))

    async def transaction(self, tx_id: str) -> results.TransactionResult:
        """What became of a transaction; one never heard of has the status unknown."""
        return await self._ask(results.TransactionResult, "tx.get", id=hash_given(tx_id))

    async def transactions(
        self, address: Address | str, *, cursor: Cursor = None, limit: int = PAGE_ITEMS
    ) -> tuple[list[dict[str, Any]], Cursor]:
        """A page of an account's transactions, newest first as the node orders them, and where the next begins."""
        page = await self._ask(
            results.TransactionPage,
            "tx.by_address",
            address=address_text(address),
            cursor=cursor,
            limit=limit,
        )
        return page.transactions, page.next

    # -- stake

    async def validators(self) -> list[results.ValidatorInfo]:
        """Every registered validator, by address."""
        pages = self._pages(results.ValidatorPage, "stake.validators")
        return [each async for page in pages for each in page.validators]

    async def validator(self, address: Address | str) -> results.ValidatorInfo:
        """One validator's stake, holds and reputation. Raises NotFoundError."""
        return await self._ask(results.ValidatorInfo, "stake.validator", address=address_text(address))

    async def evidence(self) -> results.EvidencePage:
        """What the node holds, and every conviction on chain: of validators, by address, and of workers."""
        pages = [page async for page in self._pages(results.EvidencePage, "chain.evidence")]
        return results.EvidencePage(
            pool=pages[-1].pool,
            convictions=[each for page in pages for each in page.convictions],
            workers=[each for page in pages for each in page.workers],
        )

    # -- campaigns and items

    async def campaigns(self, *, status: str | None = None) -> list[results.Campaign]:
        """All campaigns, the newest first, or those of a status (open, closing, closed, expired)."""
        pages = self._pages(results.CampaignPage, "campaign.list", status=status)
        return [each async for page in pages for each in page.campaigns]

    async def campaign(self, campaign: int | str) -> results.Campaign:
        """A campaign in full. Raises NotFoundError, naming the id."""
        return await self._ask(results.Campaign, "campaign.get", campaign=campaign_number(campaign))

    async def items(
        self, campaign: int | str, *, contributor: Address | str | None = None, status: str | None = None
    ) -> list[results.Item]:
        """All items of a campaign, or those of one contributor, or of one status."""
        return [item async for item in self.each_item(campaign, contributor=contributor, status=status)]

    async def each_item(
        self, campaign: int | str, *, contributor: Address | str | None = None, status: str | None = None
    ) -> AsyncIterator[results.Item]:
        """The same, one after the other and page by page."""
        pages = self._pages(
            results.ItemPage,
            "item.list",
            campaign=campaign_number(campaign),
            contributor=address_text(contributor) if contributor is not None else None,
            status=status,
        )
        async for page in pages:
            for item in page.items:
                yield item

    async def item(self, item: int) -> results.Item:
        return await self._ask(results.Item, "item.get", item=item)

    async def submission(self, campaign: int, commitment: str) -> results.SubmissionInfo:
        """A submission as the chain knows it. Raises NotFoundError."""
        return await self._ask(
            results.SubmissionInfo, "submission.get", campaign=campaign, commitment=hash_given(commitment)
        )

    # -- reviews

    async def assignments(
        self, validator: Address | str, *, open_only: bool = True
    ) -> list[results.Assignment]:
        """A validator's seats."""
        pages = self._pages(
            results.AssignmentPage,
            "review.assignments",
            validator=address_text(validator),
            open_only=open_only,
        )
        return [each async for page in pages for each in page.assignments]

    async def batch(self, batch: int, round_: int) -> results.Batch:
        return await self._ask(results.Batch, "review.batch", batch=batch, round=round_)

    async def similar(self, batch: int, round_: int) -> results.Similar:
        """Which items of a batch nearly repeat an earlier item of the campaign, by the node's fingerprints."""
        return await self._ask(results.Similar, "review.similar", batch=batch, round=round_)

    async def item_facts(self, item: int) -> results.ItemFacts:
        """What the bytes of an item are by the node's copy of them: media type, dimensions, duration, rows, language."""
        return await self._ask(results.ItemFacts, "item.facts", item=item)

    async def sealed(self, batch: int, round_: int, validator: Address | str) -> results.Sealed:
        """A committed report as it lies on chain: the commitment, and the report sealed by its author."""
        return await self._ask(
            results.Sealed, "review.sealed", batch=batch, round=round_, validator=address_text(validator)
        )

    # -- content

    async def has_content(self, content: ContentId) -> bool:
        """Whether the node can serve these bytes."""
        status, _ = await self.transport.http("HEAD", f"/content/{content.chunk_root.hex()}", what="content")
        return status == 200


def address_text(address: Address | str) -> str:
    """An address as text, checked. Raises KeyFormatError."""
    return format_address(parse_address(address) if isinstance(address, str) else address)


def campaign_number(campaign: int | str) -> int:
    """A campaign's number from a task id. Raises NotFoundError: no campaign has another name."""
    text = str(campaign).strip()
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFoundError(
            "no campaign has this id",
            value=text,
            remedy="a task id is a number; list them with: otensor-cli campaign list",
        )
    return int(text)


def _shown(identity: ChainIdentity) -> str:
    return f"{identity.chain_id} (genesis {identity.genesis_hash[:12]})"
