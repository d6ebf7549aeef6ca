"""TCP connections as asyncio streams: opened, tuned, parted from. Knows nothing of what goes through them."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Final

from omnitensor.protocol import limits
from p2p.config import Seed
from p2p.errors import NetworkError

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

READ_BYTES: Final = 64 * 1024
_LINGER_S: Final = 1.0


async def open_streams(seed: Seed) -> Streams:
    """A connection to an address. Raises NetworkError (`unreachable`)."""
    try:
        async with asyncio.timeout(limits.dial_ms_max / 1_000):
            streams = await asyncio.open_connection(seed.host, seed.port, limit=READ_BYTES)
    except (OSError, TimeoutError, UnicodeError) as error:
        raise NetworkError(
            f"nobody answers: {str(error) or 'too slow'}", value=str(seed), code="unreachable"
        ) from error
    tune(streams[1])
    return streams


def tune(writer: asyncio.StreamWriter) -> None:
    """Keeps little in transport and kernel, where a vote can't pass it any more."""
    writer.transport.set_write_buffer_limits(high=limits.write_buffer_bytes_max)
    connected = writer.get_extra_info("socket")
    if connected is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with suppress(OSError):  # the other end may be gone already, which whoever reads next will see
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, limits.write_buffer_bytes_max)


async def part(streams: Streams, last_words: bytes) -> None:
    """Sends the last bytes and closes, waiting a little for the other end to have read them.

    To close with unread bytes at hand would reset the connection, and may destroy the last words on their way.
    """
    reader, writer = streams
    try:
        writer.write(last_words)
        async with asyncio.timeout(_LINGER_S):
            if writer.can_write_eof():
                writer.write_eof()
            while await reader.read(READ_BYTES):
                pass
    except (OSError, TimeoutError, RuntimeError):
        pass  # the other end is gone or takes nothing: nobody is left to be told
    finally:
        writer.transport.abort()
