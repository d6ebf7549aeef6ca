"""The message that authorises an upload: what a contributor's key signs before a node takes bytes. Data only."""

from omnitensor.protocol import hashing
from omnitensor.protocol.codec import encode
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.types import Address, Hash, TimeMs


def upload_message(chain_id: str, account: Address, content: ContentId, expires_ms: TimeMs) -> Hash:
    """The 32 bytes to sign: chain, account, the content's SHA-256, size and chunk root, and when the order ends (Unix ms)."""
    return hashing.UPLOAD(
        encode(
            (
                chain_id,
                bytes(account),
                bytes(content.sha256),
                int(content.size),
                bytes(content.chunk_root),
                int(expires_ms),
            )
        )
    )
