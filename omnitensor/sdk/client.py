"""The client: one node, typed results, typed errors, and money that is never paid twice. Async core and blocking twin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from omnitensor.light import Checkpoint
from omnitensor.protocol import bodies
from omnitensor.protocol.bodies import (
    Delegate,
    EvidenceSubmit,
    ProposalVote,
    Redelegate,
    RewardsClaim,
    SessionKeyAdd,
    Transfer,
    Undelegate,
    VoteOption,
)
from omnitensor.protocol.evidence import Evidence, decode_evidence
from omnitensor.protocol.keys import parse_address
from omnitensor.protocol.limits import claim_validators_max
from omnitensor.protocol.multisig import Policy
from omnitensor.protocol.types import NANO, Address, Amount, Height, ProposalId, PublicKey
from omnitensor.sdk import results
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.home import Home, choose_endpoint
from omnitensor.sdk.loops import LOOP, Blocking, blocking
from omnitensor.sdk.multisig import MultisigOrder
from omnitensor.sdk.orders import Orders
from omnitensor.sdk.private_reads import PrivateReads
from omnitensor.sdk.proposals import ProposalDraft
from omnitensor.sdk.reads import ChainIdentity
from omnitensor.sdk.report_reads import ReportReads
from omnitensor.sdk.season_reads import SeasonReads
from omnitensor.sdk.transport import Retry, Transport
from omnitensor.sdk.trust import Trust
from omnitensor.sdk.wallet import Wallet
from omnitensor.sdk.work_reads import WorkReads

if TYPE_CHECKING:
    from omnitensor.sdk.dataset import Exported

MULTISIG_VALID_FOR_BLOCKS: Final = 86_400
"""A day at a block a second: members sign one after another."""

SESSION_VALID_FOR_BLOCKS: Final = 7_776_000
"""Ninety days at a block a second."""
SESSION_ALLOWANCE: Final = 100 * NANO
"""Hundreds of thousands of reviews at the first block's base fee, or the bonds of a few hundred items."""


class AsyncClient(Orders, SeasonReads, ReportReads, PrivateReads, WorkReads):
    """A node's client for asyncio; use it as a context manager, or `close` it.

    `endpoint`: the node's address; without it OMNITENSOR_RPC, the profile's, or the local node. `chain`: when given, a node of
    another chain is refused with WrongChainError. `checkpoint` (height:hash): a block that is trusted, from which to verify;
    without it that is the newest one verified before, or genesis of `chain`. `trust_period_s`: for how long such a block is
    trusted; two weeks, less an epoch.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        chain: ChainIdentity | None = None,
        checkpoint: Checkpoint | str | None = None,
        trust_period_s: float | None = None,
        retry: Retry | None = None,
        home: Home | str | Path | None = None,
    ) -> None:
        self.home = home if isinstance(home, Home) else Home(home)
        trust = Trust.of(checkpoint, trust_period_s, self.home)
        super().__init__(Transport(choose_endpoint(endpoint, self.home), retry), chain, trust)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def transfer(
        self, wallet: Wallet, to: Address | str, amount: int, *, tip: int = 0
    ) -> results.TransactionResult:
        """Send nanoOMNIT to an account, and wait until that is final."""
        target = parse_address(to) if isinstance(to, str) else to
        return await self.execute(wallet, Transfer(target, Amount(amount)), tip=tip)

    async def add_session_key(
        self,
        wallet: Wallet,
        key: PublicKey,
        scopes: int,
        *,
        allowance: int = SESSION_ALLOWANCE,
        valid_for_blocks: int = SESSION_VALID_FOR_BLOCKS,
    ) -> tuple[results.TransactionResult, Height]:
        """Let a key sign orders of the scopes for the wallet's account, and spend ``allowance`` nanoOMNIT of its balance in all;
        wait until that is final. With it comes the last height at which the key may sign."""
        until = Height((await self.status()).height + valid_for_blocks)
        body = SessionKeyAdd(key, int(scopes), until, Amount(allowance))
        return await self.execute(wallet, body), until

    async def multisig_order(
        self,
        policy: Policy,
        order: bodies.Order,
        *,
        valid_for_blocks: int = MULTISIG_VALID_FOR_BLOCKS,
        sequence: int | None = None,
    ) -> MultisigOrder:
        """An order of an account of several keys, for its members to sign: its next one, unless a number is given."""
        if sequence is None:
            sequence = (await self.multisig(policy.address)).sequence
        height = (await self.status()).height
        return MultisigOrder(
            await self.chain_id(), policy, sequence, Height(height + valid_for_blocks), order
        )

    async def send_multisig(
        self, wallet: Wallet, order: MultisigOrder, *, tip: int = 0
    ) -> results.TransactionResult:
        """Send what enough members signed, paid for by any account, and wait until that is final.

        Raises InputError before anything is spent where members have still to sign, the order is of another chain, its time
        is over, or another order came first; RefusedError where the chain refused it.
        """
        body = order.body()
        if order.chain_id != (chain_id := await self.chain_id()):
            raise InputError(
                "the order is for another chain", value=order.chain_id, remedy=f"the node is of {chain_id}"
            )
        if (height := (await self.status()).height) >= order.valid_until:
            raise InputError(
                f"the order was valid up to height {order.valid_until}",
                value=height,
                remedy="have the members sign a new one",
            )
        if (expected := (await self.multisig(order.account)).sequence) != order.sequence:
            raise InputError(
                f"the account's next order has the number {expected}",
                value=order.sequence,
                remedy="another order came first, or has still to come: have the members sign with this number",
            )
        return await self.execute(wallet, body, tip=tip)

    async def propose(
        self, wallet: Wallet, draft: ProposalDraft, *, deposit: int | None = None, tip: int = 0
    ) -> results.TransactionResult:
        """Make a proposal, and wait until that is final. `deposit`: nanoOMNIT; the whole of it, unless given.

        Raises InputError or ParameterError before anything is spent, RefusedError where the chain refused it.
        """
        if deposit is None:
            deposit = (await self.params()).proposal_deposit_min
        return await self.execute(wallet, draft.body(deposit), tip=tip)

    async def vote(
        self, wallet: Wallet, proposal: int, option: VoteOption, *, tip: int = 0
    ) -> results.TransactionResult:
        """Vote on a proposal with all stake that the account has or delegated, and wait until that is final."""
        return await self.execute(wallet, ProposalVote(ProposalId(proposal), option), tip=tip)

    async def delegate(
        self, wallet: Wallet, validator: Address | str, amount: int, *, tip: int = 0
    ) -> results.TransactionResult:
        """Stake nanoOMNIT with a validator, and wait until that is final. It earns from the next epoch on."""
        return await self.execute(wallet, Delegate(_address(validator), Amount(amount)), tip=tip)

    async def undelegate(
        self, wallet: Wallet, validator: Address | str, amount: int | None = None, *, tip: int = 0
    ) -> results.TransactionResult:
        """Take nanoOMNIT back from a validator, or everything; it is paid after the unbonding time."""
        wanted = None if amount is None else Amount(amount)
        return await self.execute(wallet, Undelegate(_address(validator), wanted), tip=tip)

    async def redelegate(
        self,
        wallet: Wallet,
        source: Address | str,
        target: Address | str,
        amount: int | None = None,
        *,
        tip: int = 0,
    ) -> results.TransactionResult:
        """Move nanoOMNIT, or everything that can be moved, from one validator to another at once."""
        wanted = None if amount is None else Amount(amount)
        return await self.execute(wallet, Redelegate(_address(source), _address(target), wanted), tip=tip)

    async def claim_rewards(
        self, wallet: Wallet, validators: Sequence[Address | str] | None = None, *, tip: int = 0
    ) -> list[results.TransactionResult]:
        """Have rewards paid out: of these validators, or of all that owe any. One transaction for every 32.

        The account's own address stands for what it earned as a validator. Raises InputError where nothing is owed.
        """
        wallet = await self.bind(wallet)
        if validators is None:
            owed = await self.stake_rewards(wallet.address)
            validators = [each.validator for each in owed.delegations if each.amount]
            if owed.validator:
                validators.append(wallet.address)
        if not validators:
            raise InputError(
                "there are no rewards to claim",
                value=wallet.text,
                remedy="they come at the end of each epoch for stake that was there all through it",
            )
        named = [_address(each) for each in validators]
        return [
            await self.execute(wallet, RewardsClaim(tuple(part)), tip=tip)
            for part in batched(named, claim_validators_max)
        ]

    async def submit_evidence(
        self, wallet: Wallet, evidence: Evidence | bytes, *, tip: int = 0
    ) -> results.TransactionResult:
        """Report a validator that contradicted itself, and wait until that is final. Raises RefusedError.

        `evidence` may be its canonical bytes (`HeldEvidence.encoded`); bytes without a conflict raise CodecError before anything
        is spent. An API key of the scope `report` can do this.
        """
        given = decode_evidence(evidence) if isinstance(evidence, bytes) else evidence
        return await self.execute(wallet, EvidenceSubmit(given), tip=tip)

    async def export_dataset(
        self,
        campaign: int | str,
        folder: str | Path,
        *,
        settled_only: bool = True,
        watch: Callable[[str, int, int], None] | None = None,
    ) -> Exported:
        """Write what a campaign accepted into a new folder, with proofs; needs pyarrow. Raises DatasetError, ProofError.

        `watch` is called with what is being done, how much of it is done, and of how much.
        """
        from omnitensor.sdk.dataset.gather import Exporter  # which needs this module

        return await Exporter(self, watch).export(campaign, folder, settled_only=settled_only)

    @asynccontextmanager
    async def events(
        self, topic: str, filters: Mapping[str, Any] | None = None
    ) -> AsyncIterator[AsyncIterator[Any]]:
        """Events of a topic (blocks, transactions, items) as they come, until the connection ends."""
        async with self.transport.subscribe(topic, filters) as found:
            yield found


def _address(given: Address | str) -> Address:
    return parse_address(given) if isinstance(given, str) else given


def batched(rows: Sequence[Address], size: int) -> Iterator[Sequence[Address]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


class Client(Blocking[AsyncClient]):
    """The same for programs without asyncio: every method blocks until its answer is there."""

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        chain: ChainIdentity | None = None,
        checkpoint: Checkpoint | str | None = None,
        trust_period_s: float | None = None,
        retry: Retry | None = None,
        home: Home | str | Path | None = None,
    ) -> None:
        async def made() -> AsyncClient:
            return AsyncClient(
                endpoint,
                chain=chain,
                checkpoint=checkpoint,
                trust_period_s=trust_period_s,
                retry=retry,
                home=home,
            )

        super().__init__(LOOP.run(made()))

    @property
    def endpoint(self) -> str:
        """The node's address."""
        return self.asynchronous.endpoint

    call = blocking(AsyncClient.call)
    status = blocking(AsyncClient.status)
    identity = blocking(AsyncClient.identity)
    params = blocking(AsyncClient.params)
    block = blocking(AsyncClient.block)
    voters = blocking(AsyncClient.voters)
    validator_table = blocking(AsyncClient.validator_table)
    verified_header = blocking(AsyncClient.verified_header)
    verified_head = blocking(AsyncClient.verified_head)
    trusted_point = blocking(AsyncClient.trusted_point)
    proven_account = blocking(AsyncClient.proven_account)
    proven_campaign = blocking(AsyncClient.proven_campaign)
    proven_item = blocking(AsyncClient.proven_item)
    proven_row = blocking(AsyncClient.proven_row)
    proven_receipt = blocking(AsyncClient.proven_receipt)
    proven_transaction = blocking(AsyncClient.proven_transaction)
    proven_events = blocking(AsyncClient.proven_events)
    proven_header = blocking(AsyncClient.proven_header)
    supply = blocking(AsyncClient.supply)
    account = blocking(AsyncClient.account)
    session = blocking(AsyncClient.session)
    rewards = blocking(AsyncClient.rewards)
    transaction = blocking(AsyncClient.transaction)
    transactions = blocking(AsyncClient.transactions)
    validators = blocking(AsyncClient.validators)
    validator = blocking(AsyncClient.validator)
    campaigns = blocking(AsyncClient.campaigns)
    campaign = blocking(AsyncClient.campaign)
    items = blocking(AsyncClient.items)
    item = blocking(AsyncClient.item)
    submission = blocking(AsyncClient.submission)
    assignments = blocking(AsyncClient.assignments)
    batch = blocking(AsyncClient.batch)
    similar = blocking(AsyncClient.similar)
    item_facts = blocking(AsyncClient.item_facts)
    sealed = blocking(AsyncClient.sealed)
    campaign_batches = blocking(AsyncClient.campaign_batches)
    account_items = blocking(AsyncClient.account_items)
    review_record = blocking(AsyncClient.review_record)
    spend = blocking(AsyncClient.spend)
    agreement = blocking(AsyncClient.agreement)
    contributor_report = blocking(AsyncClient.contributor_report)
    reviewer_report = blocking(AsyncClient.reviewer_report)
    bind = blocking(AsyncClient.bind)
    estimate = blocking(AsyncClient.estimate)
    sign = blocking(AsyncClient.sign)
    send = blocking(AsyncClient.send)
    submit = blocking(AsyncClient.submit)
    execute = blocking(AsyncClient.execute)
    deliver = blocking(AsyncClient.deliver)
    follow = blocking(AsyncClient.follow)
    wait = blocking(AsyncClient.wait)
    wait_height = blocking(AsyncClient.wait_height)
    transfer = blocking(AsyncClient.transfer)
    export_dataset = blocking(AsyncClient.export_dataset)
    multisig = blocking(AsyncClient.multisig)
    add_session_key = blocking(AsyncClient.add_session_key)
    multisig_order = blocking(AsyncClient.multisig_order)
    send_multisig = blocking(AsyncClient.send_multisig)
    season = blocking(AsyncClient.season)
    leaderboard = blocking(AsyncClient.leaderboard)
    campaign_leaderboard = blocking(AsyncClient.campaign_leaderboard)
    standing = blocking(AsyncClient.standing)
    badges = blocking(AsyncClient.badges)
    competition = blocking(AsyncClient.competition)
    competitions = blocking(AsyncClient.competitions)
    vaults = blocking(AsyncClient.vaults)
    vault = blocking(AsyncClient.vault)
    proposals = blocking(AsyncClient.proposals)
    proposal = blocking(AsyncClient.proposal)
    tally = blocking(AsyncClient.tally)
    votes = blocking(AsyncClient.votes)
    parameters = blocking(AsyncClient.parameters)
    upgrades = blocking(AsyncClient.upgrades)
    propose = blocking(AsyncClient.propose)
    work_status = blocking(AsyncClient.work_status)
    worker = blocking(AsyncClient.worker)
    workers = blocking(AsyncClient.workers)
    job = blocking(AsyncClient.job)
    jobs = blocking(AsyncClient.jobs)
    job_units = blocking(AsyncClient.job_units)
    job_outputs = blocking(AsyncClient.job_outputs)
    proven_work_receipt = blocking(AsyncClient.proven_work_receipt)
    delegations = blocking(AsyncClient.delegations)
    delegation = blocking(AsyncClient.delegation)
    delegators = blocking(AsyncClient.delegators)
    undelegations = blocking(AsyncClient.undelegations)
    redelegations = blocking(AsyncClient.redelegations)
    stake_rewards = blocking(AsyncClient.stake_rewards)
    apr = blocking(AsyncClient.apr)
    delegate = blocking(AsyncClient.delegate)
    undelegate = blocking(AsyncClient.undelegate)
    redelegate = blocking(AsyncClient.redelegate)
    claim_rewards = blocking(AsyncClient.claim_rewards)
    proven_delegation = blocking(AsyncClient.proven_delegation)
    vote = blocking(AsyncClient.vote)
    evidence = blocking(AsyncClient.evidence)
    submit_evidence = blocking(AsyncClient.submit_evidence)
