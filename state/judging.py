"""What a block's header is held against before and after execution. Executes nothing and keeps nothing."""

from omnitensor.protocol.blocks import Header
from omnitensor.protocol.errors import BlockError
from omnitensor.protocol.types import Address, BlsPublicKey
from omnitensor.protocol.votes import ValidatorTable
from state.blocks import PreparedBlock, root_of_transactions
from state.ledger import worker_sets
from state.ledger.context import Scheme
from state.ledger.view import ReadView


def check_proposer(
    view: ReadView, table: ValidatorTable, header: Header, message: bytes, scheme: Scheme
) -> None:
    """That the proposer may lead in the block's epoch, and that the reveal is its signature. Raises BlockError.

    ``view`` is the state below the block, ``table`` the voters of its epoch, ``message`` what is to be signed for its height.
    Whose turn it is, is consensus' to say.
    """
    key = _key_of(view, table, header.proposer)
    if key is None:
        raise BlockError(
            "the proposer is neither a validator nor a worker that leads in this epoch", value=header.proposer
        )
    if not scheme.verify(key, message, header.beacon_reveal):
        raise BlockError(
            "the beacon reveal is not the proposer's for this height", value=header.beacon_reveal
        )


def _key_of(view: ReadView, table: ValidatorTable, proposer: Address) -> BlsPublicKey | None:
    """What an account that may lead signs with. A validator's is the table's, also where it works."""
    index = table.index_of(proposer)
    if index is not None:
        return table.key(index)
    return worker_sets.key_of_leader(worker_sets.worker_set(view, table.epoch), proposer)


def check_transactions_root(prepared: PreparedBlock) -> None:
    """Raises BlockError where a block's transactions are not those that its header, and so its hash, names."""
    named = prepared.header.transactions_root
    if named != root_of_transactions(prepared.transactions):
        raise BlockError("transactions_root is not of these transactions", value=named)


def compare(header: Header, expected: Header) -> None:
    """Raises BlockError naming the first field that execution gives otherwise."""
    for name in Header.__struct_fields__:
        given, computed = getattr(header, name), getattr(expected, name)
        if given != computed:
            shown = computed.hex() if isinstance(computed, bytes) else computed
            raise BlockError(f"{name} of the block is wrong", value=given, remedy=f"execution gives {shown}")
