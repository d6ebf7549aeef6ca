"""Numbers as people write them: OMNIT with up to nine decimals, to and from nanoOMNIT, and whole numbers. Integers only."""

import re

from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.types import NANO, SUPPLY_MAX, Amount

_OMNIT = re.compile(r"(?P<whole>[0-9]{1,11})(?:\.(?P<fraction>[0-9]{1,9}))?(?:\s*OMNIT)?", re.IGNORECASE)


WHOLE_DIGITS_MAX = 18


class AmountError(ProtocolError):
    """Text that is not an amount of OMNIT."""

    code = "amount"


def whole_number(text: str) -> int | None:
    """The number that plain decimal digits are, up to eighteen of them; None for any other text.

    ``isdigit`` alone lets signs like ``²`` through, and numbers of any length, at which ``int`` fails.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= WHOLE_DIGITS_MAX else None


def format_omnit(amount: int) -> str:
    """``1234500000000`` as ``1,234.5 OMNIT``; a negative difference keeps its sign."""
    whole, nano = divmod(abs(amount), NANO)
    fraction = f".{nano:09d}".rstrip("0") if nano else ""
    return f"{'-' if amount < 0 else ''}{whole:,}{fraction} OMNIT"


def parse_omnit(text: str) -> Amount:
    """``1,234.5`` (with or without ``OMNIT`` behind it) in nanoOMNIT. Raises AmountError, naming the text."""
    match = _OMNIT.fullmatch(text.strip().replace(",", "").replace("_", ""))
    if match is None:
        raise AmountError(
            "not an amount of OMNIT",
            value=text,
            remedy="write it like 12 or 12.5, with at most nine decimals",
        )
    amount = int(match["whole"]) * NANO + int((match["fraction"] or "").ljust(9, "0"))
    if amount > SUPPLY_MAX:
        raise AmountError("amount is too large", value=text, remedy="the whole supply is 1,000,000,000 OMNIT")
    return Amount(amount)
