"""What a block's header is held against, field by field. Executes nothing and keeps nothing."""

from omnitensor.protocol.blocks import Header
from omnitensor.protocol.errors import BlockError
from state.blocks import PreparedBlock, root_of_transactions


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
