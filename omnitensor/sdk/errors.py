"""What can go wrong for a user of the SDK: typed errors with code, reason, offending value and remedy.

All are ProtocolErrors, so that one `except` catches them together with faults of keys, amounts and addresses.
"""

from __future__ import annotations

from omnitensor.protocol.errors import ProtocolError


class SdkError(ProtocolError):
    """Common to all errors of the SDK."""

    code = "sdk"


class InputError(SdkError):
    """Something given by the user that can't be used: a file, an option, a number."""

    code = "input"


class FileError(InputError):
    """A file that can't be submitted: absent, empty, too large, or of a media type that the campaign does not take."""

    code = "file"


class ConnectionFailed(SdkError):
    """No node answered, after every attempt."""

    code = "connection"


class ClosedError(SdkError):
    """A client that was closed is used again."""

    code = "closed"


class ResponseError(SdkError):
    """A node answered something that is no answer of this protocol."""

    code = "response"


class RpcError(SdkError):
    """A node refused a request. `rpc_code` is JSON-RPC's; `code` the protocol's, where the node gave one."""

    code = "rpc"

    def __init__(
        self,
        reason: str,
        *,
        value: object = None,
        remedy: str = "",
        code: str | None = None,
        rpc_code: int = 0,
    ) -> None:
        super().__init__(reason, value=value, remedy=remedy, code=code)
        self.rpc_code = rpc_code


class NotFoundError(SdkError):
    """A campaign, item, transaction or account that the node does not know."""

    code = "not_found"


class RefusedError(SdkError):
    """A transaction that was final and failed: the fee and the nonce are spent, and nothing else changed."""

    code = "refused"

    def __init__(
        self, reason: str, *, value: object = None, remedy: str = "", code: str | None = None, tx: str = ""
    ) -> None:
        super().__init__(reason, value=value, remedy=remedy, code=code)
        self.tx = tx


class NonceUsedError(SdkError):
    """A signed transaction that can never be included, since another one took its nonce or its time is over."""

    code = "nonce"


class FundsError(SdkError):
    """An account or a campaign without enough money for what was asked."""

    code = "funds"


class CampaignStateError(SdkError):
    """A campaign that does not take what was offered: closed, expired, or full."""

    code = "campaign"


class WrongChainError(SdkError):
    """A node of another chain than the one that this key, profile or work belongs to."""

    code = "chain"


class WaitTimeout(SdkError):
    """What was waited for did not happen in time; asking again later is safe."""

    code = "timeout"


class BusyError(SdkError):
    """The same piece of work is being done by another process."""

    code = "busy"
