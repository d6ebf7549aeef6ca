"""Errors of looking into media: the machine's fault, or an extra that is missing. A bad file is no error but a fact."""

from __future__ import annotations

from omnitensor.protocol.errors import ProtocolError


class MediaError(ProtocolError):
    """A file can't be looked into here: no child process can be started, or its answer is no answer."""

    code = "media"
