"""Structured logs on standard error: one line an event, JSON or text. Never given secrets; knows nothing of what is logged.

A line that can't be written (the disk is full, nobody reads the pipe any more) is lost and counted. Whoever logs does not hear
of it: a validator must not fall silent because its log has no room.
"""

import io
import logging
import sys
import threading
from typing import Final, TextIO, cast

import structlog

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class _Lines(io.TextIOBase):
    """Standard error, as one that takes whole lines and never fails."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        try:
            # Without a buffer: one would keep what can't be written, and fail with it again and again.
            self._raw: io.FileIO | None = io.FileIO(stream.fileno(), "wb", closefd=False)
        except (OSError, ValueError):  # not a file: a test's
            self._raw = None
        self._lock = threading.RLock()
        self._untold = 0
        self._telling = False
        self._torn = False
        self.lost = 0

    def write(self, text: str) -> int:
        with self._lock:
            written = self._try(text)
            if self._telling:
                self._untold = 0 if written else self._untold
            elif not written:
                self.lost += 1
                self._untold += 1
            elif self._untold:
                self._tell()
        return len(text)

    def _tell(self) -> None:
        """Says how many lines were lost, by the usual way, so that it looks like any other line."""
        self._telling = True
        try:
            structlog.get_logger("logs").warning("log lines were lost", lines=self._untold)
        finally:
            self._telling = False

    def _try(self, text: str) -> bool:
        try:
            self._put(text)
        except (OSError, ValueError):
            return False
        return True

    def _put(self, text: str) -> None:
        """Raises OSError where there is no room, ValueError where the stream is closed."""
        if self._raw is None:
            self._stream.write(text)
            self._stream.flush()
            return
        rest = (b"\n" if self._torn else b"") + text.encode("utf-8", "backslashreplace")
        while rest:
            written = self._raw.write(rest)
            if not written:  # a pipe that is full, of a kind that does not wait
                raise BlockingIOError("nobody reads")
            rest = rest[written:]
            self._torn = bool(rest)


class _Logger:
    """What structlog writes to. Its own loggers hold a lock, under which a line about lost lines could not be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: Final = stream

    def msg(self, message: str) -> None:
        self._stream.write(message + "\n")

    debug = info = warning = error = critical = exception = msg


_lines: _Lines | None = None


def lost_lines() -> int:
    """Lines that could not be written, since the logs were set up."""
    return 0 if _lines is None else _lines.lost


def configure(level: str, fmt: str, node_name: str) -> None:
    """Sets up the process's logs; the standard library's loggers (aiohttp, asyncio) go the same way."""
    global _lines
    _lines = _Lines(sys.stderr)
    stream = cast(TextIO, _lines)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor
    if fmt == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: _Logger(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[_drop_meta, renderer])
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(LEVELS[level], logging.WARNING))
    structlog.contextvars.bind_contextvars(node=node_name)


def _drop_meta(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return structlog.stdlib.ProcessorFormatter.remove_processors_meta(logger, method, event)
