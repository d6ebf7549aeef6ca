"""Users of a simulated chain: transfers that are good, twice spent, too late or forged, and stake and keys that change.

Drawn from the seed. Only honest validators change, and never so far that hostile stake would not be tolerated in some set.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from omnitensor.protocol.bodies import (
    Body,
    CampaignOpen,
    CampaignSpec,
    Category,
    ItemDeclaration,
    Scope,
    SessionKeyAdd,
    StakeAdd,
    StakeWithdraw,
    SubmissionCommit,
    SubmissionReveal,
    Transfer,
    ValidatorEdit,
    ValidatorRegister,
    ValidatorUnjail,
    WorkerRegister,
)
from omnitensor.protocol.codec import encode
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.reviews import items_root, submission_commitment
from omnitensor.protocol.transactions import signed, unsigned
from omnitensor.protocol.types import NANO, Amount, CampaignId, Hash, Height, Signature
from state.schema import VALIDATORS
from tests.simulation.application import CHAIN_ID
from tests.simulation.ledger_chain import LedgerChain
from tests.simulation.scenario import floors_of

if TYPE_CHECKING:
    from tests.simulation.ledger_world import LedgerSets
    from tests.simulation.node import SimNode
    from tests.simulation.world import World

EVERY_MS = 170
VALID_BLOCKS = 12
MAX_FEE = 10 * NANO
FIRST_MS = 250
KEY_BLOCKS = 100_000
CAMPAIGN = CampaignId(1)
SPEC = CampaignSpec(
    title="Sentences",
    instructions="Whole sentences",
    specification=None,
    media=("text/plain",),
    licence="CC-BY-4.0",
    tier_bps=(10_000,),
    categories=(Category("any", 10_000, 0),),
    unit_price=Amount(NANO // 10),
    review_fee=Amount(NANO // 20),
    item_bond=Amount(NANO // 10),
    criterion_weights=(3_000, 4_000, 3_000),
    thresholds=(60, 60, 60),
    overall_threshold=60,
    first_seats=3,
    second_seats=3,
    agree_min_bps=7_000,
    contributor_share_max_bps=10_000,
    item_bytes_max=1_000_000,
    closes_at=Height(10_000),
)
"""Its windows are longer than an execution: seats are drawn, hold stake, and are let go where their validator is convicted."""


class Load:
    """Gives nodes of a world something to do."""

    def __init__(self, world: World, sets: LedgerSets) -> None:
        self._world = world
        self._sets = sets
        self._random = Random(f"load {world.scenario.seed}")
        self._floors = floors_of(world.scenario)
        self._changed: dict[int, tuple[int, int]] = {}
        """Nonce and last height of the change of stake that a validator waits for: one at a time."""
        self._keys = 0
        self._items = 0
        self._hidden: list[tuple[SigningKey, SubmissionReveal]] = []
        """Committed to, and to be revealed."""
        self._reporters = [
            index
            for index, kind in ((i, world.scenario.byzantine.get(i)) for i in range(world.scenario.size))
            if not kind
        ]

        self._bonding = list(range(world.scenario.size, world.scenario.parties))
        """Workers that are to be registered with a bond, which evidence can take."""

    def begin(self) -> None:
        self._world.clock.at(FIRST_MS, self._work)

    def _work(self) -> None:
        self._world.clock.after(EVERY_MS, self._work)
        running = [node for node in self._world.honest() if node.up]
        if not running:
            return
        node = running[self._random.randrange(len(running))]
        if self._reporters:
            self._enable_reporter(node, self._reporters.pop(0))
        elif self._bonding:
            self._bond(node, self._bonding.pop(0))
        elif self._items == 0:
            self._items = 1
            self._give(node, self._sets.users[0], CampaignOpen(SPEC, Amount(100 * NANO)), valid=100)
        elif self._random.random() < 0.2:
            self._contribute(node)
        elif self._random.random() < 0.6:
            self._transfer(node, running)
        else:
            self._change(node)

    # -- money

    def _transfer(self, node: SimNode, running: list[SimNode]) -> None:
        random, sets = self._random, self._sets
        key = sets.users[random.randrange(len(sets.users))]
        to = (*sets.users, *sets.accounts)[random.randrange(len(sets.users) + len(sets.accounts))].address
        draw = random.random()
        body = Transfer(to, Amount(random.randrange(1, 5 * NANO)))
        if draw < 0.1:  # twice spent, at two nodes
            self._give(node, key, body)
            other = Transfer(to, Amount(random.randrange(1, 5 * NANO)))
            self._give(running[random.randrange(len(running))], key, other, nonce=self._nonce(node, key) - 1)
        elif draw < 0.2:
            self._give(node, key, body, nonce=self._nonce(node, key) + random.choice((-1, 1, 2, 500)))
        elif draw < 0.3:
            self._give(node, key, body, valid=random.choice((-1, 0, 1, 2, 10**6)))
        elif draw < 0.35:
            self._give(node, key, body, forged=True)
        elif draw < 0.45:
            self._give(node, key, Transfer(to, Amount(2_000 * NANO)))  # more than it has
        else:
            self._give(node, key, body)

    # -- campaigns

    def _contribute(self, node: SimNode) -> None:
        """Commits to an item, or reveals one."""
        if self._hidden and self._random.random() < 0.6:
            key, reveal = self._hidden.pop(0)
            self._give(node, key, reveal)
            return
        self._items += 1
        key = self._sets.users[1 + self._items % (len(self._sets.users) - 1)]
        root = Hash(self._items.to_bytes(32, "big"))
        items = (ItemDeclaration(ContentId(root, 100, root), "text/plain", 0, 0),)
        commitment = submission_commitment(CHAIN_ID, CAMPAIGN, items_root(items), key.address, root)
        self._hidden.append((key, SubmissionReveal(CAMPAIGN, commitment, root, items)))
        self._give(node, key, SubmissionCommit(CAMPAIGN, commitment, 1))

    # -- validators

    def _enable_reporter(self, node: SimNode, validator: int) -> None:
        """Lets a validator's node report with a key of its own."""
        public = self._sets.reporter_key(validator).public
        self._give(
            node,
            self._sets.accounts[validator],
            SessionKeyAdd(public, Scope.REPORT, Height(KEY_BLOCKS), Amount(10**12)),
            valid=60,
        )

    def _change(self, node: SimNode) -> None:
        scenario, random = self._world.scenario, self._random
        honest = [index for index in range(scenario.size) if index not in scenario.byzantine]
        validator = honest[random.randrange(len(honest))]
        key, chain = self._sets.accounts[validator], node.chain
        assert isinstance(chain, LedgerChain)
        reader = chain.chain.reader()
        row = reader.get(VALIDATORS, key.address)
        if row is None:
            self._register(node, validator)
            return
        nonce, until = self._changed.get(validator, (-1, -1))
        draw = random.random()
        if row.jailed and draw < 0.7:
            self._give(node, key, ValidatorUnjail())  # too early at times
        elif draw < 0.3:
            self._edit(node, validator)
        elif draw < 0.6:
            self._give(node, key, StakeAdd(Amount(random.randint(1, 6) * NANO)))
        elif reader.account(key.address).nonce > nonce or reader.head.height > until:
            free = row.stake - self._floors[validator] * NANO
            if free >= NANO:
                amount = free if random.random() < 0.4 else random.randint(1, free // NANO) * NANO
                self._changed[validator] = (
                    chain.mempool.next_nonce(key.address),
                    reader.head.height + VALID_BLOCKS,
                )
                self._give(node, key, StakeWithdraw(Amount(amount)))

    def _register(self, node: SimNode, validator: int) -> None:
        world = self._world
        body = ValidatorRegister(
            Amount(world.scenario.weights[validator] * NANO),
            world.keys[validator],
            world.scheme.pop_prove(world.secrets[validator]),
            0,
            f"late {validator}",
        )
        self._give(node, self._sets.accounts[validator], body)

    def _bond(self, node: SimNode, party: int) -> None:
        world = self._world
        possession = world.scheme.pop_prove(world.secrets[party])
        body = WorkerRegister(self._sets.genesis.params.worker_bond_min, world.keys[party], possession)
        self._give(node, self._sets.accounts[party], body, valid=60)

    def _edit(self, node: SimNode, validator: int) -> None:
        """A new key, or a new name."""
        account = self._sets.accounts[validator]
        if self._random.random() < 0.5:
            self._give(node, account, ValidatorEdit(None, None, None, f"name {self._keys}"))
            return
        self._keys += 1
        secret = b"key %d" % self._keys + self._world.secrets[validator]
        key = self._sets.new_key(secret)
        self._give(node, account, ValidatorEdit(key, self._world.scheme.pop_prove(secret), None, None))

    # -- giving

    def give_for(self, node: SimNode, body: Body) -> None:
        """What a hostile validator orders, by its own node."""
        self._give(node, self._sets.accounts[node.validator], body)

    def _nonce(self, node: SimNode, key: SigningKey) -> int:
        assert isinstance(node.chain, LedgerChain)
        return node.chain.mempool.next_nonce(key.address)

    def _give(
        self,
        node: SimNode,
        key: SigningKey,
        body: Body,
        *,
        nonce: int | None = None,
        valid: int = VALID_BLOCKS,
        forged: bool = False,
    ) -> None:
        """As a user's wallet: sign what the node says is next, and give it to the node."""
        order = unsigned(
            chain_id=CHAIN_ID,
            sender=key.address,
            nonce=max(0, self._nonce(node, key) if nonce is None else nonce),
            valid_until=Height(max(0, node.height + valid)),
            max_fee=Amount(MAX_FEE),
            tip=Amount(self._random.randrange(1_000)),
            body=body,
            signer=key.public,
        )
        signature = Signature(bytes(64)) if forged else key.sign(order.id)
        counts = self._world.ledger_counts
        counts[f"{body.KIND} given"] += 1
        assert node.errands is not None
        try:
            node.errands.submit(encode(signed(order, signature)))
        except ProtocolError as error:
            counts[f"refused: {error.code}"] += 1
