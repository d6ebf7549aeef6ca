"""A node's JSON-RPC in one function, with the standard library alone. For watching a net; users have the SDK."""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, Final, TypeVar

from deploy.devnet.process import DevnetError

CALL_SECONDS_MAX: Final = 60.0
"""A node that runs answers in milliseconds; on a machine where everything waits for a processor, in seconds."""
POLL_SECONDS: Final = 0.1

T = TypeVar("T")


class Unanswered(DevnetError):
    """Nobody listens, or the answer broke off."""

    code = "unanswered"


class CallError(DevnetError):
    """A node's JSON-RPC error: ``number`` is JSON-RPC's, ``data`` what the node says besides."""

    code = "call"

    def __init__(self, method: str, error: dict[str, Any]) -> None:
        super().__init__(f"{method}: {error.get('message')}", value=error.get("data"))
        self.number: int = error["code"]
        self.data: dict[str, Any] = error.get("data") or {}


def get(endpoint: str, path: str, timeout_s: float = CALL_SECONDS_MAX) -> tuple[int, bytes]:
    """Status and body of ``GET path``. Raises Unanswered."""
    return _request(urllib.request.Request(endpoint + path), timeout_s)


def call(endpoint: str, method: str, /, *, timeout_s: float = CALL_SECONDS_MAX, **params: Any) -> Any:
    """The result of one call. Raises CallError, or Unanswered."""
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    _, body = post(endpoint, json.dumps(request).encode(), timeout_s)
    answer = json.loads(body)
    if "error" in answer:
        raise CallError(method, answer["error"])
    return answer["result"]


def post(endpoint: str, body: bytes, timeout_s: float = CALL_SECONDS_MAX) -> tuple[int, bytes]:
    """Status and body of the answer to ``body``, sent as JSON whether it is or not. Raises Unanswered."""
    headers = {"Content-Type": "application/json"}
    return _request(urllib.request.Request(endpoint + "/", body, headers), timeout_s)


def until(
    what: str,
    ready: Callable[[], T],
    timeout_s: float,
    *,
    every_s: float = POLL_SECONDS,
    on_wait: Callable[[], None] | None = None,
) -> T:
    """What ``ready`` returns once that is true. Raises DevnetError saying ``what`` did not happen.

    A node that does not answer is asked again: it may be starting, or the machine busy.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        seen: T | Unanswered
        try:
            seen = ready()
            if seen:
                return seen
        except Unanswered as silence:
            seen = silence
        if time.monotonic() > deadline:
            raise DevnetError(f"did not happen within {timeout_s:.0f} s: {what}", value=seen)
        if on_wait is not None:
            on_wait()
        time.sleep(every_s)


def _request(request: urllib.request.Request, timeout_s: float) -> tuple[int, bytes]:
    if not request.full_url.startswith("http://127.0.0.1:"):
        raise DevnetError("a devnet is on this machine alone", value=request.full_url)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unanswered(f"no answer ({error})", value=request.full_url) from error
