"""Bytes to and from a node: files go up in chunks and come down verified, both going on where they stopped.

Knows files, content ids and HTTP; nothing of submissions.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from omnitensor.protocol import limits
from omnitensor.protocol.amounts import whole_number
from omnitensor.protocol.content import ContentHasher, ContentId
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.types import TimeMs
from omnitensor.protocol.uploads import upload_message
from omnitensor.sdk.errors import ConnectionFailed, FileError, NotFoundError, ResponseError, RpcError
from omnitensor.sdk.results import read
from omnitensor.sdk.transport import Transport, error_of
from omnitensor.sdk.wallet import Wallet

UPLOAD_VALID_MS: Final = 3_600_000
PARALLEL_CHUNKS: Final = 4
ROUNDS_MAX: Final = 3
"""How often in a row an upload is begun again, or a download tried again, without anything having come of it."""
PATIENCE_S: Final = 120.0
"""For so long a node that went away in the middle of an upload, or has to get content from its peers, may bring nothing."""
ASK_AGAIN_S: Final = 1.0
CHECKED_BYTES_PER_S_MIN: Final = 4 * limits.MIB
"""A node that checks an upload more slowly than that is not waited for."""

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""
Waits = Callable[[str], None]
"""Called with what is waited for."""


class _Upload(msgspec.Struct):
    upload: str
    missing: list[tuple[int, int]]
    token: str = ""
    stored: bool = False


def file_content(path: Path) -> ContentId:
    """The content id of a file, read once in pieces. Raises FileError."""
    hasher = ContentHasher()
    try:
        with path.open("rb") as file:
            while piece := file.read(limits.chunk_bytes):
                hasher.update(piece)
    except OSError as error:
        raise FileError(
            f"the file can't be read ({error.strerror})", value=path, remedy="check its name and permissions"
        ) from error
    return hasher.finish()[0]


class _Patience:
    """How long something is tried again: as long as it gets further."""

    def __init__(self, transport: Transport, rounds: int = ROUNDS_MAX) -> None:
        self._transport, self._rounds = transport, rounds
        self._done: dict[str, int] = {}
        self._faults, self._since = 0, time.monotonic()

    def got(self, done: int, where: str = "here") -> None:
        """So much is done now: more than before begins the waiting anew."""
        if done > self._done.get(where, -1):
            self._done[where] = done
            self._faults, self._since = 0, time.monotonic()

    async def rest(self, fault: Exception) -> None:
        """Waits before the next try. Raises the fault when these were enough tries without getting further."""
        self._faults += 1
        if self._faults >= self._rounds:
            raise fault
        await asyncio.sleep(self._transport.retry.delay(self._faults))

    async def wait(self, fault: Exception, seconds: float = ASK_AGAIN_S) -> None:
        """Waits for somebody who may come back. Raises the fault when that took too long without getting further."""
        if time.monotonic() - self._since > PATIENCE_S:
            raise fault
        await asyncio.sleep(seconds)


async def upload_file(
    transport: Transport,
    wallet: Wallet,
    chain_id: str,
    path: Path,
    content: ContentId,
    progress: Progress | None = None,
    waits: Waits | None = None,
) -> None:
    """Bring a file to the node: the chunks that it does not have yet. Raises FileError, RpcError or ConnectionFailed.

    A node that goes away in the middle is waited for; it is sent only what it lost. Interrupted anywhere, it goes on at the next
    call; a file that changed meanwhile is refused by its hash.
    """
    patience, began, told = _Patience(transport), False, False

    def count(done: int) -> None:
        patience.got(done)
        if progress is not None:
            progress(done, content.size)

    while True:
        try:
            begun = await _begin(transport, wallet, chain_id, content)
            began, told = True, False
            if begun.stored:
                return count(content.size)
            await _put_chunks(transport, begun, path, content, count)
            return await _finish(transport, begun, path, content)
        except ConnectionFailed as fault:
            if not began:
                raise
            if waits is not None and not told:
                told = True
                waits(f"{fault.reason}; the upload goes on when the node is back")
            await patience.wait(fault)
        except RpcError as fault:
            if fault.code not in _BEGUN_ANEW:
                raise
            await patience.rest(fault)


_BEGUN_ANEW: Final = frozenset({"upload_token", "no_upload", "incomplete"})
"""What a node says that was started anew, or lost chunks: the upload is begun again and goes on with what is missing."""


async def _finish(transport: Transport, begun: _Upload, path: Path, content: ContentId) -> None:
    """Have the whole checked, however long that takes for so many bytes. Raises RpcError, ConnectionFailed."""
    until = time.monotonic() + PATIENCE_S + content.size / CHECKED_BYTES_PER_S_MIN
    while True:
        status, body = await transport.http(
            "POST", f"/uploads/{begun.upload}/finish", headers=_bearer(begun), what="finishing an upload"
        )
        if status != 202:
            break
        if time.monotonic() > until:
            raise ConnectionFailed("the node does not finish checking the upload", value=transport.endpoint)
        await asyncio.sleep(ASK_AGAIN_S)
    if not 200 <= status < 300:
        raise _http_error(status, body, f"finishing the upload of {path.name}")


async def _begin(transport: Transport, wallet: Wallet, chain_id: str, content: ContentId) -> _Upload:
    expires = TimeMs(int(time.time() * 1000) + UPLOAD_VALID_MS)
    message = upload_message(chain_id, wallet.address, content, expires)
    order = {
        "content": {
            "sha256": content.sha256.hex(),
            "size": content.size,
            "chunk_root": content.chunk_root.hex(),
        },
        "account": format_address(wallet.address),
        "signer": wallet.public.hex(),
        "expires_ms": int(expires),
        "signature": wallet.sign_message(message).hex(),
    }
    answer = await _json(transport, "POST", "/uploads", msgspec.json.encode(order), "beginning an upload")
    return read(_Upload, answer, "/uploads")


async def _put_chunks(
    transport: Transport, begun: _Upload, path: Path, content: ContentId, count: Callable[[int], None]
) -> None:
    """Send what is missing, telling how many bytes of the whole are there."""
    waiting = (index for start, end in begun.missing for index in range(start, min(end, content.chunks)))
    missing = (index for start, end in begun.missing for index in range(start, min(end, content.chunks)))
    done = content.size - sum(content.chunk_size(index) for index in missing)
    count(done)

    async def work() -> None:
        nonlocal done
        for index in waiting:
            data = await asyncio.to_thread(_read_chunk, path, content, index)
            status, body = await transport.http(
                "PUT",
                f"/uploads/{begun.upload}/chunks/{index}",
                data=data,
                headers={"Content-Type": "application/octet-stream", **_bearer(begun)},
                what="a chunk",
            )
            if not 200 <= status < 300:
                raise _http_error(status, body, f"chunk {index} of {path.name}")
            done += len(data)
            count(done)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(PARALLEL_CHUNKS, content.chunks)):
                group.create_task(work())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed


def _read_chunk(path: Path, content: ContentId, index: int) -> bytes:
    size = content.chunk_size(index)
    try:
        with path.open("rb") as file:
            file.seek(index * limits.chunk_bytes)
            data = file.read(size)
    except OSError as error:
        raise FileError(f"the file can't be read ({error.strerror})", value=path) from error
    if len(data) != size:
        raise FileError(
            "the file changed while it was uploaded", value=path, remedy="submit it again, and leave it alone"
        )
    return data


async def download_file(
    transport: Transport,
    content: ContentId,
    path: Path,
    progress: Progress | None = None,
    attempts: int = 5,
) -> None:
    """Bring content to `path`, whole and verified. Raises NotFoundError, ResponseError, RpcError or ConnectionFailed.

    Bytes go to ``path.part`` and are kept between attempts; `path` appears when size, SHA-256 and chunk root agree. A node that
    has to get them from its peers first is waited for as long as something comes; so many attempts in a row may bring nothing.
    """
    part = path.with_name(path.name + ".part")
    patience = _Patience(transport, attempts)
    while True:
        try:
            patience.got(await asyncio.to_thread(_length_within, part, content.size))
            await _fetch_rest(transport, content, part, progress)
            break
        except RpcError as fault:
            if fault.code not in ("fetching", "busy"):
                raise
            there = whole_number(str(fault.value)) if fault.code == "fetching" else None
            if there is not None:
                patience.got(there, "at the node")
            await patience.wait(fault)
        except (ConnectionFailed, NotFoundError) as fault:
            # A node that is still looking for the bytes among its peers may have them at the next attempt.
            await patience.rest(fault)
    found = await asyncio.to_thread(file_content, part)
    if found != content:
        part.unlink(missing_ok=True)
        raise ResponseError(
            "the node served other bytes than the chain names",
            value=content.chunk_root,
            remedy="ask another node",
        )
    await asyncio.to_thread(os.replace, part, path)


_REFUSAL_BYTES_MAX: Final = 64 * limits.KIB


async def _fetch_rest(
    transport: Transport, content: ContentId, part: Path, progress: Progress | None
) -> None:
    have = await asyncio.to_thread(_length_within, part, content.size)
    if have == content.size:
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    async with transport.stream(f"/content/{content.chunk_root.hex()}", headers) as response:
        if response.status == 404:
            raise NotFoundError(
                "no node has these bytes now", value=content.chunk_root, remedy="try again later"
            )
        if response.status not in (200, 206):
            said = await response.content.read(_REFUSAL_BYTES_MAX)
            raise _http_error(response.status, said, "content that the chain names")
        have = have if response.status == 206 else 0
        with part.open("r+b") as file:
            file.truncate(have)
            file.seek(have)
            async for piece in response.content.iter_chunked(256 * 1024):
                have += len(piece)
                if have > content.size:
                    raise ResponseError(
                        "the node served more bytes than the content has", value=content.chunk_root
                    )
                await asyncio.to_thread(file.write, piece)
                if progress is not None:
                    progress(have, content.size)
    if have < content.size:
        raise ConnectionFailed("the node stopped in the middle of a file", value=transport.endpoint)


def _length_within(part: Path, size: int) -> int:
    """Bytes of a partial file that can be gone on from; the file is made where it is not there."""
    with part.open("ab") as file:
        have = file.tell()
    return have if have <= size else 0


async def _json(transport: Transport, verb: str, path: str, data: bytes, what: str) -> Any:
    status, body = await transport.http(verb, path, data=data, what=what)
    if not 200 <= status < 300:
        raise _http_error(status, body, what)
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ResponseError(f"the node's answer to {what} is no JSON") from error


def _http_error(status: int, body: bytes, what: str) -> ProtocolError:
    """The typed error of an HTTP answer: the node says it as a JSON-RPC error object."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        found = None
    error = found.get("error", found) if isinstance(found, dict) else {}
    if not isinstance(error, dict):
        error = {"message": str(error)}
    data = error.get("data") if isinstance(error.get("data"), dict) else error
    code = error.get("code")
    message = str(error.get("message") or f"the node refused {what} (HTTP {status})")
    return error_of(code if isinstance(code, int) else -status, message, data, what)


def _bearer(begun: _Upload) -> dict[str, str]:
    return {"Authorization": f"Bearer {begun.token}"} if begun.token else {}
