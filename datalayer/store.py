"""The content-addressed disk store: takes content in chunks, keeps it under its chunk root, gives it back.

Knows a folder, sizes, owners and quotas; nothing of the ledger (who asks says what is referred to) or of the network.
Methods block on the disk and may be called from any thread; memory does not grow with the size of content.

    objects/ab/<chunk root>/{data,meta}   complete content and its leaf hashes; what was noted of it
    claims/<chunk root>                   who uploaded it and when, until a submission refers to it
    uploads/<id>/                         what is on its way (see ``upload``)
    trash/                                what is being removed; emptied at start
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from datalayer import files
from datalayer.quota import NODE_OWNER, Pending, Quota, Usage, charge_of
from datalayer.upload import (
    ContentError,
    DamagedError,
    Order,
    Range,
    Stored,
    Upload,
    are_leaves_of,
    read_meta,
    split_hashes,
)
from omnitensor.protocol import limits, merkle
from omnitensor.protocol.codec import Record, decode, encode
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.disk import disk_fault, is_full
from omnitensor.protocol.errors import ProtocolError, StorageError
from omnitensor.protocol.types import Hash, TimeMs, TimeMsF

UNREFERENCED_MS: Final = 24 * 60 * 60 * 1_000


class Claim(Record, frozen=True):
    """Who brought content in, and since when it waits for a submission that refers to it."""

    owner: bytes
    since_ms: TimeMsF


@dataclass(frozen=True, slots=True)
class Begun:
    """An upload that may go on: its id, and what is still to be sent (nothing where the content is stored already)."""

    upload_id: str
    content: ContentId
    missing: tuple[Range, ...]
    stored: bool


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class ContentStore:
    """Content by chunk root. One process at a time has the folder."""

    def __init__(
        self,
        folder: Path,
        quota_bytes: int,
        *,
        unreferenced_ms: int = UNREFERENCED_MS,
        owner_bytes_max: int = limits.content_owner_bytes_max,
        owner_uploads_max: int = limits.content_owner_uploads_max,
        clock_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        """Opens or creates the store. Raises StorageError where another process has it or the disk refuses."""
        self._folder: Final = folder
        self._quota: Final = Quota(quota_bytes, owner_bytes_max, owner_uploads_max)
        self._unreferenced_ms: Final = unreferenced_ms
        self._clock_ms: Final = clock_ms
        self._lock: Final = threading.RLock()
        self._objects = self._received = 0
        self._uploads: Final[dict[str, Pending]] = {}
        self._claims: Final[dict[bytes, Pending]] = {}
        self._open: Final[OrderedDict[str, Upload]] = OrderedDict()
        self._metas: Final[OrderedDict[bytes, Stored]] = OrderedDict()
        with files.disk_errors(folder):
            for name in ("objects", "claims", "uploads", "trash"):
                (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_descriptor = files.lock_folder(folder)
            self._recover()

    def close(self) -> None:
        """Lets another process have the folder."""
        if self._lock_descriptor >= 0:
            os.close(self._lock_descriptor)
            self._lock_descriptor = -1

    # Uploads

    def begin(self, content: ContentId, owner: bytes, leaf_hashes: tuple[bytes, ...] = ()) -> Begun:
        """Starts an upload, or goes on with the one that this owner had begun.

        With ``leaf_hashes`` a wrong chunk is refused when it arrives, without them when the upload is finished.
        Raises ContentError: code ``empty``, ``leaf_hashes`` (not those of the chunk root) or ``quota``.
        """
        if content.size == 0:
            raise ContentError(
                "the content is empty", remedy="choose a file with something in it", code="empty"
            )
        if leaf_hashes and not are_leaves_of(content, leaf_hashes):
            raise ContentError(
                "the leaf hashes are not those of the chunk root",
                value=content.chunk_root,
                code="leaf_hashes",
            )
        upload_id = sha256(encode((content, owner))).hexdigest()[:32]
        with self._lock, files.disk_errors(self._folder):
            if self.has(content.chunk_root):
                return self._begun_stored(upload_id, content, owner)
            if upload_id not in self._uploads:
                self._quota.admit(owner, charge_of(content.size))
                fresh = self._folder / "trash" / secrets.token_hex(8)
                Upload.create(fresh, Order(content, owner, b"".join(leaf_hashes)))
                os.rename(fresh, self._folder / "uploads" / upload_id)
                files.sync_folder(self._folder / "uploads")
                self._track(upload_id, content, owner)
            with self._using(upload_id) as upload:
                return Begun(upload_id, content, upload.missing, stored=False)

    def put_chunk(self, upload_id: str, index: int, data: bytes) -> None:
        """Takes a chunk and has it on disk when it returns; the same chunk again changes nothing.

        Raises ContentError: code ``no_upload`` or ``wrong_chunk``; StorageError where the disk refuses.
        """
        with self._using(upload_id) as upload, files.disk_errors(self._folder):
            if upload.order.owner != NODE_OWNER:
                with self._lock:
                    self._received += len(data)
            try:
                upload.put(index, data)
            except FileNotFoundError as error:
                raise _no_upload(upload_id) from error  # dropped or put in its place meanwhile

    def missing(self, upload_id: str) -> tuple[Range, ...]:
        """Chunks still to be sent, as ranges [from, to). Raises ContentError (``no_upload``)."""
        with self._using(upload_id) as upload:
            return upload.missing

    def finish(self, upload_id: str) -> ContentId:
        """Checks the whole by SHA-256 and chunk root, and puts it in its place in one step.

        Raises ContentError: code ``no_upload``; ``incomplete`` (send the chunks that it names); ``wrong_content``, after
        which the upload is gone.
        """
        with self._using(upload_id) as upload:
            with upload.lock:
                if upload.finishing:
                    raise ContentError("this upload is being finished", remedy="wait for its outcome")
                upload.finishing = True
            try:
                with files.disk_errors(self._folder):
                    leaves = upload.verify()  # the long part, outside the store's lock
                    files.write_new(upload.folder / "meta", encode(Stored(upload.content, b"".join(leaves))))
                    self._place(upload_id, upload)
            except ContentError as error:
                if error.code == "wrong_content":
                    self.abort(upload_id)
                raise
            finally:
                upload.finishing = False
            return upload.content

    def abort(self, upload_id: str) -> None:
        """Drops an upload; one that is not there is fine."""
        with self._lock, files.disk_errors(self._folder):
            pending = self._uploads.pop(upload_id, None)
            if pending is not None:
                self._quota.settle(pending)
                self._quota.give(pending.charge)
            self._open.pop(upload_id, None)
            files.remove_folder(self._folder / "uploads" / upload_id, self._folder / "trash")

    # Reading

    def has(self, chunk_root: Hash) -> bool:
        return self._place_of(chunk_root).is_dir()

    def stat(self, chunk_root: Hash) -> ContentId | None:
        """What is stored under a chunk root; None where nothing is."""
        return self._meta(chunk_root).content if self.has(chunk_root) else None

    def leaf_hashes(self, chunk_root: Hash) -> tuple[bytes, ...]:
        """Leaf hash of each chunk. Raises ContentError (``absent``)."""
        return split_hashes(self._meta(chunk_root).leaf_hashes)

    def read_chunk(self, chunk_root: Hash, index: int) -> bytes:
        """A chunk, checked by its leaf hash. Raises ContentError (``absent``, ``wrong_chunk``), StorageError where damaged."""
        meta = self._meta(chunk_root)
        if not 0 <= index < meta.content.chunks:
            raise ContentError(
                "no such chunk",
                value=index,
                remedy=f"the last is {meta.content.chunks - 1}",
                code="wrong_chunk",
            )
        size, start = meta.content.chunk_size(index), index * limits.chunk_bytes
        with self._reading(chunk_root):
            data = files.read_at(self.path(chunk_root), start, size)
        if len(data) != size or merkle.leaf_hash(data) != meta.leaf_hashes[index * 32 : (index + 1) * 32]:
            raise DamagedError(
                f"chunk {index} of stored content is damaged",
                value=chunk_root,
                remedy="check the disk; the node drops such content when it checks it, and fetches it again",
            )
        return data

    def read_range(self, chunk_root: Hash, offset: int, length: int) -> bytes:
        """Up to a chunk's length of bytes from anywhere, unchecked; fewer at the end. Raises ContentError (``absent``)."""
        assert offset >= 0 and 0 <= length <= limits.chunk_bytes, (
            "a range is read in pieces of at most a chunk"
        )
        with self._reading(chunk_root):
            return files.read_at(self.path(chunk_root), offset, length)

    def path(self, chunk_root: Hash) -> Path:
        """The file that holds the bytes, for those who stream it. It may be gone at any time; an open file stays readable."""
        return self._place_of(chunk_root) / "data"

    # Keeping house

    def expire(self, is_referenced: Callable[[Hash], bool]) -> tuple[Hash, ...]:
        """Drops uploads and content that nothing refers to and whose time is over. Returns the chunk roots of dropped content.

        Content that something refers to is no longer counted against its uploader.
        """
        now_ms, dropped = self._clock_ms(), []
        with self._lock, files.disk_errors(self._folder):
            for upload_id, pending in tuple(self._uploads.items()):
                if now_ms - pending.since_ms >= self._unreferenced_ms and not self._is_used(upload_id):
                    self.abort(upload_id)
            for root, pending in tuple(self._claims.items()):
                if is_referenced(Hash(root)):
                    self._release(root)
                elif now_ms - pending.since_ms >= self._unreferenced_ms:
                    self.drop(Hash(root))
                    dropped.append(Hash(root))
        return tuple(dropped)

    def settle(self, owner: bytes, is_referenced: Callable[[Hash], bool]) -> int:
        """Counts no more against an owner what something refers to by now; how many contents that were."""
        with self._lock:
            waiting = [root for root, pending in self._claims.items() if pending.owner == owner]
        named = [root for root in waiting if is_referenced(Hash(root))]  # the long part, outside the lock
        with self._lock, files.disk_errors(self._folder):
            for root in named:
                self._release(root)
        return len(named)

    def sweep(self, is_wanted: Callable[[Hash], bool]) -> tuple[Hash, ...]:
        """Drops content that the caller does not want any more, but for what waits for a submission. Returns its chunk roots."""
        dropped = []
        for root in self.roots():
            with self._lock:
                waits = root in self._claims
            if not waits and not is_wanted(root):
                self.drop(root)
                dropped.append(root)
        return tuple(dropped)

    def roots(self) -> Iterator[Hash]:
        """Chunk roots of what is stored, in no order; what comes or goes meanwhile may be left out."""
        for folder in (self._folder / "objects").iterdir():
            for place in folder.iterdir():
                yield Hash(bytes.fromhex(place.name))

    def since_ms(self, chunk_root: Hash) -> int:
        """When content came, for those who make room; 0 where it is gone."""
        try:
            return int(self._place_of(chunk_root).stat().st_mtime * 1_000)
        except FileNotFoundError:
            return 0

    def size(self, chunk_root: Hash) -> int:
        """Bytes of what is stored under a chunk root; 0 where nothing is."""
        try:
            return self.path(chunk_root).stat().st_size
        except FileNotFoundError:
            return 0

    def is_marked(self, chunk_root: Hash) -> bool:
        """Whether content was marked as being kept elsewhere too."""
        return (self._place_of(chunk_root) / "elsewhere").exists()

    def mark(self, chunk_root: Hash) -> None:
        """Marks content as being kept elsewhere too. Raises ContentError (``absent``)."""
        with self._reading(chunk_root), files.disk_errors(self._folder):
            (self._place_of(chunk_root) / "elsewhere").touch(mode=0o600)

    def noted(self, chunk_root: Hash, kind: str) -> bytes | None:
        """What was noted of content under a name; None where nothing was, or the content is gone."""
        try:
            return (self._place_of(chunk_root) / kind).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(
                f"what was noted can't be read ({error.strerror})", value=chunk_root, remedy="check the disk"
            ) from error

    def note(self, chunk_root: Hash, kind: str, data: bytes) -> None:
        """Keeps some bytes computed of content beside it; they go when it goes. Raises ContentError (``absent``)."""
        assert kind not in ("data", "meta", "elsewhere") and len(data) <= limits.content_note_bytes_max
        place = self._place_of(chunk_root)
        with self._reading(chunk_root):
            came = place.stat()
            files.replace_file(place / kind, data)
            os.utime(place, ns=(came.st_atime_ns, came.st_mtime_ns))  # it says since when the content is here

    def drop(self, chunk_root: Hash) -> None:
        """Removes content; absent content is fine."""
        with self._lock, files.disk_errors(self._folder):
            if not self.has(chunk_root):
                return
            size = self.size(chunk_root)  # what else is known of it may be damaged
            files.remove_folder(self._place_of(chunk_root), self._folder / "trash")
            self._metas.pop(chunk_root, None)
            self._release(chunk_root)
            self._quota.give(charge_of(size))
            self._objects -= 1

    def usage(self) -> Usage:
        with self._lock:
            quota = self._quota
            counts = (quota.total, quota.pending, quota.total_max, self._objects, len(self._uploads))
            return Usage(*counts, self._received)

    # Inside

    def _begun_stored(self, upload_id: str, content: ContentId, owner: bytes) -> Begun:
        if self._meta(content.chunk_root).content != content:
            raise ContentError(
                "other size or SHA-256 than the stored content of this chunk root",
                value=content.chunk_root,
                remedy="compute the content id again",
                code="wrong_content",
            )
        claim = self._claims.get(content.chunk_root)
        if claim is not None and claim.owner == owner:
            self._write_claim(content.chunk_root, owner)  # it is wanted still
            claim.since_ms = self._clock_ms()
        return Begun(upload_id, content, (), stored=True)

    def _track(self, upload_id: str, content: ContentId, owner: bytes) -> None:
        pending = Pending(owner, charge_of(content.size), self._clock_ms())
        self._uploads[upload_id] = pending
        self._quota.take(pending.charge)
        self._quota.wait(pending)

    @contextmanager
    def _using(self, upload_id: str) -> Iterator[Upload]:
        """The one object of an upload, kept while it is used; few stay open without being used."""
        with self._lock:
            if upload_id not in self._uploads:
                raise _no_upload(upload_id)
            self._uploads[upload_id].since_ms = self._clock_ms()
            upload = self._open.get(upload_id)
            if upload is None:
                upload = self._open[upload_id] = Upload(self._folder / "uploads" / upload_id)
            self._open.move_to_end(upload_id)
            upload.users += 1
        try:
            yield upload
        finally:
            with self._lock:
                upload.users -= 1
                for idle in [key for key, other in self._open.items() if not other.users]:
                    if len(self._open) <= limits.uploads_cached_max:
                        break
                    del self._open[idle]

    def _is_used(self, upload_id: str) -> bool:
        upload = self._open.get(upload_id)
        return upload is not None and upload.users > 0

    def _place(self, upload_id: str, upload: Upload) -> None:
        """Moves a checked upload among the objects."""
        with self._lock:
            pending, root = self._uploads.get(upload_id), upload.content.chunk_root
            if pending is None:
                raise _no_upload(upload_id)
            if self.has(root):  # another owner's upload was quicker
                self.abort(upload_id)
                return
            place = self._place_of(root)
            place.parent.mkdir(exist_ok=True, mode=0o700)
            if pending.owner != NODE_OWNER:
                self._write_claim(root, pending.owner)
            files.sync_folder(upload.folder)
            os.rename(upload.folder, place)
            files.sync_folder(place.parent)
            files.sync_folder(self._folder / "objects")
            for leftover in ("order", "progress"):
                (place / leftover).unlink(missing_ok=True)
            # The upload's place in the quota becomes the claim's.
            del self._uploads[upload_id]
            self._open.pop(upload_id, None)
            if pending.owner != NODE_OWNER:
                self._claims[root] = Pending(pending.owner, pending.charge, self._clock_ms())
            self._objects += 1

    def _write_claim(self, root: bytes, owner: bytes) -> None:
        claim = Claim(owner, TimeMs(self._clock_ms()))
        files.replace_file(self._folder / "claims" / root.hex(), encode(claim))

    def _release(self, root: bytes) -> None:
        pending = self._claims.pop(root, None)
        if pending is not None:
            self._quota.settle(pending)
            (self._folder / "claims" / root.hex()).unlink(missing_ok=True)

    def _place_of(self, chunk_root: bytes) -> Path:
        name = chunk_root.hex()
        return self._folder / "objects" / name[:2] / name

    def _meta(self, chunk_root: Hash) -> Stored:
        with self._lock:
            meta = self._metas.get(chunk_root)
        if meta is None:
            with self._reading(chunk_root):
                raw = (self._place_of(chunk_root) / "meta").read_bytes()
            meta = read_meta(raw, chunk_root)
            with self._lock:
                self._metas[chunk_root] = meta
                while len(self._metas) > limits.uploads_cached_max:
                    self._metas.popitem(last=False)
        return meta

    @contextmanager
    def _reading(self, chunk_root: Hash) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise ContentError(
                "no such content here", value=chunk_root, remedy="check the chunk root", code="absent"
            ) from error
        except OSError as error:
            if is_full(error):
                raise disk_fault(error, self._folder) from error
            kind = DamagedError if error.errno == errno.EIO else StorageError
            raise kind(
                f"stored content can't be read ({error.strerror})", value=chunk_root, remedy="check the disk"
            ) from error

    def _recover(self) -> None:
        """Finds what a run before left, whole or torn, and counts it."""
        for leftover in (self._folder / "trash").iterdir():
            shutil.rmtree(leftover, ignore_errors=True)
        for place in (self._folder / "objects").glob("??/*"):
            if not (place / "data").is_file():
                files.remove_folder(place, self._folder / "trash")
                continue
            self._quota.take(charge_of((place / "data").stat().st_size))
            self._objects += 1
        for path in (self._folder / "claims").iterdir():
            self._recover_claim(path)
        for folder in (self._folder / "uploads").iterdir():
            try:
                upload = Upload(folder)
            except StorageError:
                files.remove_folder(folder, self._folder / "trash")
            else:
                self._track(folder.name, upload.content, upload.order.owner)

    def _recover_claim(self, path: Path) -> None:
        try:
            root = Hash(bytes.fromhex(path.name))
            claim = decode(Claim, path.read_bytes())
            size = self.path(root).stat().st_size
        except (ValueError, ProtocolError, FileNotFoundError):
            path.unlink()  # torn, or of content that never got to its place
            return
        pending = Pending(claim.owner, charge_of(size), claim.since_ms)
        self._claims[root] = pending
        self._quota.wait(pending)


def _no_upload(upload_id: str) -> ContentError:
    return ContentError("no such upload", value=upload_id, remedy="begin the upload again", code="no_upload")
