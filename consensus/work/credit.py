"""What validated work counts for: in the leader schedule, and as a share of the compute pool. Integers; knows no receipts."""

from typing import Final

from omnitensor.protocol.types import BPS

DISCOUNT_BPS: Final = 2_500
"""Share of its work that counts where nothing was burned for it: synthetic work, and jobs that people post to themselves."""


def counted(macs: int, burned: int, base_price: int, discount_bps: int = DISCOUNT_BPS) -> int:
    """Credit of so many multiply-accumulates, for which ``burned`` nanoOMNIT burned.

    ``base_price`` is nanoOMNIT for 2**30 multiply-accumulates: whoever burned that much for all of them has all of them counted.
    """
    return counted_at(macs, burned_share(macs, burned, base_price), discount_bps)


def burned_share(macs: int, burned: int, base_price: int) -> int:
    """The share, in basis points, of so many multiply-accumulates that what burned for them paid for."""
    whole = -(-macs * base_price >> 30)  # rounded up: no work is so little that it counts in full for nothing
    return BPS if burned >= whole else burned * BPS // whole


def counted_at(macs: int, share_bps: int, discount_bps: int = DISCOUNT_BPS) -> int:
    """Credit of so many multiply-accumulates of which a share was paid for; the rest counts at the discount.

    Linear in ``macs``: an unbiased estimate of work gives unbiased credit, where the share is of the work as it is known.
    """
    return macs * (discount_bps * BPS + (BPS - discount_bps) * share_bps) // (BPS * BPS)
