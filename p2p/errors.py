"""Typed errors of the network: the fault of a peer, of its bytes, or of the configuration. Each names the offending value."""

from __future__ import annotations

from omnitensor.protocol.errors import ProtocolError


class NetworkError(ProtocolError):
    """Anything of this room; here: an address that can't be listened on or dialled."""

    code = "network"


class FrameError(NetworkError):
    """Bytes on a connection that are no frame: too large, out of order, or not decryptable."""

    code = "frame"


class HandshakeError(NetworkError):
    """A connection that did not become a peer. `code` is more exact: see the subclasses."""

    code = "handshake"


class IdentityError(HandshakeError):
    """The identity's signature does not cover the connection's static key, or it is another identity than the one dialled."""

    code = "identity"


class WrongVersionError(HandshakeError):
    """The other end speaks another version of the protocol."""

    code = "wrong_version"


class WrongChainError(HandshakeError):
    """The other end is on another chain."""

    code = "wrong_chain"


class WrongGenesisError(HandshakeError):
    """The other end's chain has the same name and another genesis."""

    code = "wrong_genesis"


class SelfConnectionError(HandshakeError):
    """The other end is this node itself, or another that uses its identity."""

    code = "self_connection"


class HandshakeTimeout(HandshakeError):
    """The other end was too slow."""

    code = "handshake_timeout"


class AskError(NetworkError):
    """A question without an answer; `code` is `gone`, `timeout`, `not_held`, `busy` or `wrong_answer`."""

    code = "ask"
