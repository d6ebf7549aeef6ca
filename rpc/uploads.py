"""Content by HTTP: uploads in chunks that go on where they stopped, downloads with ranges. Streams; holds no more than a chunk.

Who may upload is decided by a signature, over chain, account, content and the order's end, of the account's own key or of
a session key of it with the scope. The answer holds a token for the chunks. Reads the state; writes to the store alone.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Final, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta

from datalayer.store import Begun
from datalayer.upload import ContentError
from omnitensor.media import Facts
from omnitensor.protocol import keys, limits
from omnitensor.protocol.bodies import Scope
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.errors import LimitError, SignatureError
from omnitensor.protocol.types import Address, Hash, PublicKey, Signature, TimeMs
from omnitensor.protocol.uploads import upload_message
from rpc.backend import Backend
from rpc.errors import CONTENT, NOT_AUTHORISED, UNAVAILABLE, domain_error, not_found
from rpc.fields import AddressText, HashText, address_of, content_of, hash_of
from rpc.jsonrpc import INVALID_PARAMS, parse_json, standard_error, weight
from rpc.limiter import Shares, client_of
from state.reader import Reader
from state.schema import SESSION_KEYS

T = TypeVar("T")

PIECE_BYTES: Final = 64 * 1024


class ContentOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content that is to come."""

    sha256: HashText
    size: Annotated[int, Meta(ge=0, le=limits.content_bytes_max)]
    chunk_root: HashText


class UploadOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /uploads``. ``leaf_hashes``, where given, let a wrong chunk be refused as it arrives."""

    content: ContentOrder
    account: AddressText
    signer: HashText
    expires_ms: Annotated[int, Meta(ge=0, le=2**53)]
    signature: Annotated[str, Meta(pattern="^[0-9a-f]{128}$")]
    leaf_hashes: tuple[HashText, ...] = ()


@dataclass(frozen=True, slots=True)
class _Grant:
    """What a token lets its holder do, and until when."""

    token_hash: bytes
    content: ContentId
    expires_ms: int


class Uploads:
    """Handlers of /uploads and /content. Tokens live in memory: after a restart an upload is begun again and goes on."""

    def __init__(
        self, backend: Backend, clock_ms: Callable[[], int], admit: Callable[[str, int], None]
    ) -> None:
        """``admit`` gets client and number of calls, and raises RpcError where they are too many."""
        self._backend: Final = backend
        self._admit: Final = admit
        self._store: Final = backend.content
        self._clock_ms: Final = clock_ms
        self._grants: Final[OrderedDict[str, _Grant]] = OrderedDict()
        self._settled: Final[OrderedDict[Address, int]] = OrderedDict()
        """When an account's uploads were looked up on the chain last."""
        # Threads of its own: a slow disk, or hashing gigabytes, holds up uploads alone.
        self._threads: Final = ThreadPoolExecutor(limits.rpc_upload_threads_max, thread_name_prefix="content")
        self._ends: Final[dict[str, asyncio.Task[None]]] = {}
        self._finishing: Final = asyncio.Semaphore(limits.rpc_finishes_max)
        # One at a time: whatever an upload makes of its decoder, threads are left for the others.
        self._looking: Final = asyncio.Semaphore(1)
        self._receiving: Final = asyncio.Semaphore(limits.rpc_uploads_max)
        self._receiving_of: Final = Shares(limits.rpc_uploads_per_client_max)
        self._fetches: Final[dict[Hash, asyncio.Task[bool]]] = {}
        self._fetching_of: Final = Shares(limits.rpc_fetches_per_client_max)

    def routes(self) -> list[web.RouteDef]:
        upload = "/uploads/{upload:[0-9a-f]{32}}"
        content = "/content/{chunk_root:[0-9a-f]{64}}"
        return [
            web.post("/uploads", self.begin),
            web.get(upload, self.look, allow_head=False),
            web.delete(upload, self.abort),
            web.put(upload + "/chunks/{index:[0-9]{1,5}}", self.put_chunk),
            web.post(upload + "/finish", self.finish),
            web.get(content, self.download),
        ]

    def close(self) -> None:
        """Lets go of the threads; what waits for one, or for content, is given up."""
        for task in self._fetches.values():
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _on_disk(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    # Uploading

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """``POST /uploads``: which chunks are to be sent, and the token to send them with."""
        body = await read_body(request, limits.rpc_body_bytes_max)
        self._admit(client_of(request.remote), weight(body))
        try:
            order = msgspec.convert(parse_json(body), UploadOrder)
        except msgspec.ValidationError as error:
            raise standard_error(INVALID_PARAMS, "params", str(error), remedy="see POST /uploads") from error
        content = ContentId(
            hash_of(order.content.sha256), order.content.size, hash_of(order.content.chunk_root)
        )
        account = address_of(order.account)
        self._authorise(self._backend.reader(), order, content, account)
        leaves = tuple(bytes.fromhex(leaf) for leaf in order.leaf_hashes)
        begun = await self._begun(content, account, leaves)
        token = secrets.token_hex(32)
        self._grants.pop(begun.upload_id, None)
        self._grants[begun.upload_id] = _Grant(_token_hash(token), content, order.expires_ms)
        while len(self._grants) > limits.upload_tokens_max:
            self._grants.popitem(last=False)
        return web.json_response(
            {"upload": begun.upload_id, "missing": begun.missing, "stored": begun.stored, "token": token}
        )

    async def _begun(self, content: ContentId, account: Address, leaves: tuple[bytes, ...]) -> Begun:
        """The upload in the store. What the account has submitted in the meantime is no reason to refuse it."""
        try:
            return await self._on_disk(self._store.begin, content, account, leaves)
        except ContentError as error:
            if error.code != "quota" or not self._may_settle(account):
                raise
            if not await self._on_disk(self._backend.settle, account):
                raise
        return await self._on_disk(self._store.begin, content, account, leaves)

    def _may_settle(self, account: Address) -> bool:
        now_ms, before_ms = self._clock_ms(), self._settled.get(account)
        if before_ms is not None and 0 <= now_ms - before_ms < limits.content_settle_ms_min:
            return False
        self._settled[account] = now_ms
        self._settled.move_to_end(account)
        while len(self._settled) > limits.upload_tokens_max:
            self._settled.popitem(last=False)
        return True

    def _authorise(self, reader: Reader, order: UploadOrder, content: ContentId, account: Address) -> None:
        """Raises SignatureError or RpcError where this key may not upload for this account now."""
        now_ms = self._clock_ms()
        if not now_ms < order.expires_ms <= now_ms + limits.upload_authorisation_ms_max:
            raise domain_error(
                NOT_AUTHORISED,
                "upload_expired",
                "the order to upload has ended, or ends too far ahead",
                str(order.expires_ms),
                f"sign one that ends within {limits.upload_authorisation_ms_max // 3_600_000} hours"
                f" of {now_ms}; check this machine's clock",
            )
        signer = PublicKey(hash_of(order.signer))
        chain_id = reader.head.header.chain_id
        message = upload_message(chain_id, account, content, TimeMs(order.expires_ms))
        if not keys.verify(signer, message, Signature(bytes.fromhex(order.signature))):
            raise SignatureError(
                "the signature is not the signer's for this upload",
                value=order.signer,
                remedy=f"sign for chain {chain_id}",
            )
        if keys.address_of(signer) != account:
            self._authorise_session(reader, signer, account)
        if not reader.account(account).balance:
            raise domain_error(
                NOT_AUTHORISED,
                "upload_account",
                "the account has no money on this chain",
                order.account,
                "fund it first: a submission needs a fee",
            )

    def _authorise_session(self, reader: Reader, signer: PublicKey, account: Address) -> None:
        session = reader.get(SESSION_KEYS, signer)
        if session is None or session.owner != account:
            fault = "the signer is neither the account's own key nor a session key of it"
        elif session.valid_until <= reader.head.height:
            fault = f"the session key was valid up to height {session.valid_until}"
        elif not session.scopes & Scope.UPLOAD:
            fault = "the session key may not upload"
        else:
            return
        raise domain_error(
            NOT_AUTHORISED,
            "upload_scope",
            fault,
            signer.hex(),
            "make a key with: otensor-cli api-key create --scope upload",
        )

    async def put_chunk(self, request: web.Request) -> web.StreamResponse:
        """``PUT /uploads/{id}/chunks/{n}``: the bytes of a chunk. 204 when it is on disk."""
        upload_id, _ = self._granted(request)
        index = int(request.match_info["index"])
        async with self._place(client_of(request.remote)):
            data = await read_body(request, limits.chunk_bytes)
            await self._on_disk(self._store.put_chunk, upload_id, index, data)
        return web.Response(status=204)

    @asynccontextmanager
    async def _place(self, client: str) -> AsyncIterator[None]:
        """A place for a chunk to arrive at. Raises RpcError (``busy``) where there is none, or none for one more of a client."""
        if not self._receiving_of.may_take(client) or self._receiving.locked():
            raise domain_error(
                UNAVAILABLE, "busy", "too many chunks arrive at once", remedy="send it again in a moment"
            )
        self._receiving_of.take(client)
        try:
            async with self._receiving:
                yield
        finally:
            self._receiving_of.give_back(client)

    async def look(self, request: web.Request) -> web.StreamResponse:
        """``GET /uploads/{id}``: the chunks still missing."""
        upload_id, grant = self._granted(request)
        if await self._on_disk(self._store.has, grant.content.chunk_root):
            return web.json_response({"upload": upload_id, "missing": (), "stored": True})
        missing = await self._on_disk(self._store.missing, upload_id)
        return web.json_response({"upload": upload_id, "missing": missing, "stored": False})

    async def finish(self, request: web.Request) -> web.StreamResponse:
        """``POST /uploads/{id}/finish``: checks the whole. Again after it is stored, it answers the same.

        202 while a large file is being checked: to be asked again.
        """
        upload_id, grant = self._granted(request)
        content = grant.content
        stored = await self._on_disk(self._store.has, content.chunk_root)
        if not stored and not await self._finished(upload_id):
            return web.json_response({"upload": upload_id, "checking": True}, status=202)
        async with self._looking:
            facts = await self._on_disk(self._backend.facts.compute, content.chunk_root)
        return web.json_response({**msgspec.structs.asdict(content_of(content)), "media": _shown(facts)})

    async def _finished(self, upload_id: str) -> bool:
        """Checks an upload once, however often a client asks meanwhile; False where that goes on."""
        task = self._ends.get(upload_id)
        if task is None:
            task = self._ends[upload_id] = asyncio.create_task(self._finish_once(upload_id))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await _ended(task)

    async def _finish_once(self, upload_id: str) -> None:
        try:
            async with self._finishing:
                await self._on_disk(self._store.finish, upload_id)
        finally:
            del self._ends[upload_id]

    async def abort(self, request: web.Request) -> web.StreamResponse:
        """``DELETE /uploads/{id}``: drops what has arrived."""
        upload_id, _ = self._granted(request)
        await self._on_disk(self._store.abort, upload_id)
        del self._grants[upload_id]
        return web.Response(status=204)

    def _granted(self, request: web.Request) -> tuple[str, _Grant]:
        """The upload and what its token grants. Raises RpcError."""
        upload_id = request.match_info["upload"]
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        grant = self._grants.get(upload_id)
        known = grant is not None and hmac.compare_digest(grant.token_hash, _token_hash(token))
        if scheme != "Bearer" or grant is None or not known or grant.expires_ms <= self._clock_ms():
            raise domain_error(
                NOT_AUTHORISED,
                "upload_token",
                "the token is missing, not this upload's, or has ended",
                upload_id,
                "begin the upload again with POST /uploads; it goes on where it stopped",
            )
        return upload_id, grant

    # Downloading

    async def download(self, request: web.Request) -> web.StreamResponse:
        """``GET`` or ``HEAD /content/{chunk root}``: the bytes, or a range of them; from peers where they are not here."""
        root = Hash(bytes.fromhex(request.match_info["chunk_root"]))
        here = await self._on_disk(self._store.has, root)
        if not here and not await self._fetched(root, client_of(request.remote)):
            raise not_found("content", root.hex(), "it may come: try again later, or ask another node")
        return web.FileResponse(
            self._store.path(root),
            headers={
                # A stranger's bytes are never a page of this origin.
                "Content-Type": "application/octet-stream",
                "Content-Disposition": "attachment",
                "X-Content-Type-Options": "nosniff",
                "Cache-Control": "public, max-age=31536000, immutable",
            },
        )

    async def _fetched(self, root: Hash, client: str) -> bool:
        """Whether peers gave the content; the fetch goes on beyond the request that began it, in a place of that client's.

        Raises RpcError: ``fetching`` while it is on its way, its value the bytes that are here; ``busy``.
        """
        task = self._fetches.get(root)
        if task is None:
            task = self._begin_fetch(root, client)
        if not await _ended(task):
            raise domain_error(
                UNAVAILABLE,
                "fetching",
                "the content is on its way from peers; so many bytes of it are here",
                str(self._backend.fetched_bytes(root)),
                "ask again",
            )
        return task.result()

    def _begin_fetch(self, root: Hash, client: str) -> asyncio.Task[bool]:
        """Takes a place for a fetch, of all there are and of the client's own. Raises RpcError (``busy``) where it has none."""
        if not self._fetching_of.may_take(client):
            raise domain_error(
                UNAVAILABLE,
                "busy",
                "as many contents as one client may wait for are being fetched for this one",
                root.hex(),
                "ask again when one of them is here",
            )
        if len(self._fetches) >= limits.rpc_fetches_max:
            raise domain_error(
                UNAVAILABLE,
                "busy",
                "too many contents are being fetched",
                root.hex(),
                "try again in a moment",
            )
        self._fetching_of.take(client)
        task = self._fetches[root] = asyncio.create_task(self._backend.fetch(root))

        def ended(done: asyncio.Task[bool]) -> None:
            del self._fetches[root]
            self._fetching_of.give_back(client)
            _ = done.cancelled() or done.exception()  # whoever waits is told; nobody need wait any more

        task.add_done_callback(ended)
        return task


async def _ended(task: asyncio.Task[T]) -> bool:
    """Waits a little for work that others wait for, too; whether it has ended. Raises what it raised."""
    await asyncio.wait((task,), timeout=limits.rpc_wait_ms / 1_000)
    if task.done():
        task.result()
    return task.done()


def _token_hash(token: str) -> bytes:
    """Also of what a header holds that is no UTF-8, which comes here as lone surrogates."""
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


def _shown(facts: Facts | None) -> dict[str, Any] | None:
    """What the bytes are, as JSON, without what is not known; None where the content is gone already."""
    return None if facts is None else msgspec.to_builtins(facts)


async def read_body(request: web.Request, bytes_max: int) -> bytes:
    """A request's body, in time and bounded. Raises LimitError, or RpcError where it does not arrive."""
    declared = request.content_length
    if declared is not None and declared > bytes_max:
        raise _body_too_large(declared, bytes_max)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.rpc_receive_ms_max / 1_000):
            while piece := await request.content.read(PIECE_BYTES):
                body += piece
                if len(body) > bytes_max:
                    raise _body_too_large(len(body), bytes_max)
    except TimeoutError as error:
        raise domain_error(
            UNAVAILABLE, "timeout", "the body did not arrive in time", remedy="send it again"
        ) from error
    return bytes(body)


def _body_too_large(size: int, bytes_max: int) -> LimitError:
    return LimitError(
        "the body is too large", value=f"{size} bytes", remedy=f"at most {bytes_max} bytes are taken here"
    )


HTTP_STATUS: Final[dict[str, int]] = {
    "not_found": 404,
    "absent": 404,
    "no_upload": 404,
    "incomplete": 409,
    "wrong_chunk": 422,
    "wrong_content": 422,
    "quota": 507,
    "limit": 413,
    "busy": 503,
    "fetching": 503,
    "timeout": 503,
    "upload_token": 401,
    "upload_expired": 403,
    "upload_scope": 403,
    "upload_account": 403,
    "signature": 403,
    "storage": 500,
    "internal": 500,
}
"""HTTP status of a refusal by its code; 400 for all others."""

__all__ = ["CONTENT", "HTTP_STATUS", "ContentError", "Uploads", "read_body"]
