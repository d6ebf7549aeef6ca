"""Makes events: what happened, by kind, with named values in a fixed order. Values are integers, text or bytes.

A value of 33 bytes is an address, and nothing else in an event has that length: indexes by address rest on it.
"""

from omnitensor.protocol.blocks import Event


def event(kind: str, **fields: int | str | bytes) -> Event:
    """An event; fields in the order given."""
    return Event(kind, tuple(fields.items()))
