"""Where a list goes on, as text that means something to this node's lists alone. Knows text; nothing of methods.

A list says in plain text where its next page begins. What a client gets is that text sealed with a digest of the list and its
filters: a cursor of another list, of other filters, cut or made up is refused, and nobody comes to rely on what is in it. It is
no secret and no proof: a list checks what it reads as it does everything that strangers say.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from hashlib import sha256
from typing import Final

from omnitensor.protocol.errors import shorten
from rpc.jsonrpc import INVALID_PARAMS, RpcError, standard_error

_DIGEST_BYTES: Final = 6


def seal(of: str, plain: str) -> str:
    """The cursor of a list, which ``of`` names with its filters, for the place that ``plain`` names."""
    body = plain.encode()
    return urlsafe_b64encode(_digest(of, body) + body).rstrip(b"=").decode()


def unseal(of: str, cursor: str) -> str:
    """The place that a cursor names. Raises RpcError where it is not one of this list's."""
    try:
        data = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        body = data[_DIGEST_BYTES:]
        plain = body.decode()
    except (Base64Error, ValueError) as error:
        raise bad_cursor(cursor) from error
    if data[:_DIGEST_BYTES] != _digest(of, body) or seal(of, plain) != cursor:
        raise bad_cursor(cursor)
    return plain


def bad_cursor(cursor: str) -> RpcError:
    return standard_error(
        INVALID_PARAMS,
        "cursor",
        "not a cursor of this list with these filters",
        shorten(cursor),
        "give the `next` of the page before, with the parameters of that page; without a cursor it begins anew",
    )


def _digest(of: str, body: bytes) -> bytes:
    return sha256(of.encode() + b"\x00" + body).digest()[:_DIGEST_BYTES]
