"""Typed errors: the fault of a peer or a user, with reason, offending value and remedy.

A bug is an ``assert``, an expected outcome a return value; neither is raised from here.
"""

from typing import Final

VALUE_CHARS_MAX: Final = 120


class ProtocolError(Exception):
    """A fault of whoever sent the value.

    ``reason`` says what is wrong, ``value`` the offending value (shortened), ``remedy`` what to do about it.
    ``code`` is stable and machine-readable: it goes into receipts, RPC errors and metrics.
    """

    code: str = "protocol"

    def __init__(
        self, reason: str, *, value: object = None, remedy: str = "", code: str | None = None
    ) -> None:
        self.reason = reason
        self.value = shorten(value)
        self.remedy = remedy
        if code is not None:
            self.code = code
        super().__init__(reason, value, remedy)

    def __str__(self) -> str:
        text = self.reason
        if self.value:
            text += f": {self.value}"
        if self.remedy:
            text += f" ({self.remedy})"
        return text


def shorten(value: object) -> str:
    """Text of an offending value for a message: bytes as hex, never longer than a line, so that a stranger can't fill a log.

    It can always be written: what came as bytes that are no UTF-8 (a header's, a file name's) is shown by escapes.
    """
    if value is None:
        return ""
    text = value.hex() if isinstance(value, bytes | bytearray) else str(value)
    if not text.isascii():
        text = text[: VALUE_CHARS_MAX + 1].encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= VALUE_CHARS_MAX else text[: VALUE_CHARS_MAX - 1] + "…"


class CodecError(ProtocolError):
    """Bytes that are not the canonical encoding of the expected record."""

    code = "codec"


class LimitError(ProtocolError):
    """A value above its limit on the limits page."""

    code = "limit"


class KeyFormatError(ProtocolError):
    """Text or bytes that are not a key, an address or a keystore."""

    code = "key"


class SignatureError(ProtocolError):
    """A signature, certificate or proof that does not verify."""

    code = "signature"


class BlockError(ProtocolError):
    """A block that breaks a rule; it is never notarized."""

    code = "block"


class TransactionError(ProtocolError):
    """A transaction that can't be taken into the mempool or a block."""

    code = "transaction"


class StorageError(ProtocolError):
    """A database or store that is damaged, of another chain, or in use."""

    code = "storage"
