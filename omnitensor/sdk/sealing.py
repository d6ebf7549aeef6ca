"""Private files on this disk: encrypted and decrypted in pieces, in little memory, and only ever for their owner's eyes.

Knows files and keys; sends nothing. What is written here has mode 0600 and appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import msgspec

from omnitensor.protocol import sealing
from omnitensor.protocol.content import ContentHasher, ContentId
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.sealing import MAGIC, SEGMENT_BYTES, TAG_BYTES, SealError, Segments
from omnitensor.sdk.bundles import BundleItem, SealedText
from omnitensor.sdk.errors import FileError
from omnitensor.sdk.results import Campaign, bytes_of, hash_of
from omnitensor.sdk.wallet import Wallet


class _Digest(Protocol):
    """A hash that is being taken."""

    def update(self, data: bytes, /) -> None: ...


class Plain(NamedTuple):
    """What a plain file is: its SHA-256 (32 bytes), and its size in bytes."""

    digest: bytes
    size: int


def sealed_item(item: BundleItem, campaign: Campaign, wallet: Wallet, chain_id: str) -> BundleItem:
    """A checked file as a private item: what its encrypted bytes are, and its key for sponsor and contributor. Reads it once.

    Raises FileError where it changed since it was checked, or would be too large encrypted.
    """
    path, digest, number = Path(item.path), bytes_of(item.sha256), campaign.campaign
    key = wallet.item_key(chain_id, number, digest)
    content = _sealed_content(path, item, key, wallet, chain_id, number)
    check_sealed_size(path, content.size, campaign)
    plain = sealing.plain_commitment(key, digest, item.size)
    context = sealing.sponsor_context(chain_id, number, content.chunk_root, wallet.address)
    return msgspec.structs.replace(
        item,
        sha256=content.sha256.hex(),
        size=content.size,
        chunk_root=content.chunk_root.hex(),
        private=SealedText(
            item.sha256,
            plain.hex(),
            sealing.wrap(key, bytes_of(campaign.spec.reading_key), context).hex(),
            wallet.seal_item_key(chain_id, number, plain, key).hex(),
        ),
    )


def check_sealed_size(path: Path, size: int, campaign: Campaign) -> None:
    """That a file is not too large for its campaign once it is encrypted. Raises FileError."""
    if size > campaign.spec.item_bytes_max:
        raise FileError(
            f"encrypted the file has {size} bytes, over the campaign's limit of {campaign.spec.item_bytes_max}",
            value=path,
            remedy="split or compress it",
        )


def seal_for_upload(item: BundleItem, wallet: Wallet, chain_id: str, campaign: int, target: Path) -> None:
    """Put a private item's encrypted bytes at `target`, unless they are there. Raises FileError where the file changed."""
    assert item.private is not None, "only private items are encrypted"
    if target.exists() and target.stat().st_size == item.size:
        return  # whatever is there was written whole, under a name that its content gives
    key = wallet.item_key(chain_id, campaign, bytes_of(item.private.plain_sha256))
    hasher = ContentHasher()
    with _written(target) as out:
        plain = sha256()
        for piece in _sealed_pieces(Path(item.path), key, wallet, chain_id, campaign, plain):
            hasher.update(piece)
            out.write(piece)
        if hasher.finish()[0].chunk_root != hash_of(item.chunk_root):
            raise _changed(Path(item.path))


def open_file(source: Path, target: Path, key: bytes, context: bytes) -> Plain:
    """Decrypt a file; what it is. Raises SealError, with nothing at `target`, where any of it is not as it was encrypted."""
    digest, size = sha256(), 0
    with _written(target) as out, source.open("rb") as file:
        for piece in _plain_pieces(file, source.stat().st_size, key, context):
            digest.update(piece)
            size += len(piece)
            out.write(piece)
    return Plain(digest.digest(), size)


def plain_of(source: Path, key: bytes, context: bytes) -> Plain:
    """What the plain file of an encrypted one is, with none written. Raises SealError."""
    digest, size = sha256(), 0
    with source.open("rb") as file:
        for piece in _plain_pieces(file, source.stat().st_size, key, context):
            digest.update(piece)
            size += len(piece)
    return Plain(digest.digest(), size)


def _plain_pieces(file: BinaryIO, size: int, key: bytes, context: bytes) -> Iterator[bytes]:
    if file.read(len(MAGIC)) != MAGIC:
        raise SealError("not an encrypted file", remedy="only items of private campaigns are encrypted")
    count, last_bytes = sealing.segment_lengths(size)
    segments = Segments(key, context)
    for index in range(count):
        last = index == count - 1
        sealed = file.read(last_bytes if last else SEGMENT_BYTES + TAG_BYTES)
        yield segments.open(index, sealed, last=last)


def _sealed_content(
    path: Path, item: BundleItem, key: bytes, wallet: Wallet, chain_id: str, campaign: int
) -> ContentId:
    hasher, plain = ContentHasher(), sha256()
    for piece in _sealed_pieces(path, key, wallet, chain_id, campaign, plain):
        hasher.update(piece)
    if plain.hexdigest() != item.sha256:
        raise _changed(path)
    return hasher.finish()[0]


def _sealed_pieces(
    path: Path, key: bytes, wallet: Wallet, chain_id: str, campaign: int, plain: _Digest
) -> Iterator[bytes]:
    """A file's encrypted bytes, segment by segment; `plain` takes in what is read."""
    segments = Segments(key, sealing.content_context(chain_id, campaign, wallet.address))
    yield MAGIC
    try:
        with path.open("rb") as file:
            here, index = file.read(SEGMENT_BYTES), 0
            while here:
                ahead = file.read(SEGMENT_BYTES)
                if ahead and len(here) < SEGMENT_BYTES:
                    raise _changed(path)
                plain.update(here)
                yield segments.seal(index, here, last=not ahead)
                here, index = ahead, index + 1
    except OSError as error:
        raise FileError(
            f"the file can't be read ({error.strerror})", value=path, remedy="check its name and permissions"
        ) from error


@contextlib.contextmanager
def _written(target: Path) -> Iterator[BinaryIO]:
    """A file that appears at `target` when all went well, for its owner alone. Raises StorageError where the disk refuses."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise StorageError(
            f"a file can't be written ({error.strerror})", value=target, remedy="make room on this disk"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _changed(path: Path) -> FileError:
    return FileError("the file changed while it was read", value=path, remedy="leave it alone and try again")
