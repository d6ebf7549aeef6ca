"""Method item.facts: what the bytes of an item say of themselves, beside what was declared. Reads state and stored content.

Facts that the node has not taken yet are taken here, from a thread of the server, by a child process with limits.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from omnitensor.media import Facts, agrees
from omnitensor.protocol.types import ItemId
from rpc.fields import Count, Number
from rpc.methods_campaign import item_row
from rpc.table import TABLE, Context, Params, Result
from state.schema import PRIVATE_ITEMS


class FactsShown(Result, frozen=True):
    """0 or empty: unknown, or of another kind of media."""

    media_type: Annotated[
        str, Meta(description="As the bytes have it; empty where they are of no known kind")
    ]
    size: Count
    fault: Annotated[str, Meta(description="Why they do not decode")]
    unread: Annotated[str, Meta(description="What this node lacks to look into them")]
    characters: Count
    lines: Count
    words: Count
    language: Annotated[str, Meta(description="ISO 639-1, a guess; und where it can't be told")]
    width: Count
    height: Count
    frames: Count
    duration_ms: Count
    channels: Count
    sample_rate_hz: Count
    frame_rate_mhz: Annotated[Count, Meta(description="Frames in 1000 seconds")]
    codec: str
    audio_codec: Annotated[str, Meta(description="Of a video's sound")]
    rows: Count
    columns: Count


class ItemFactsParams(Params, frozen=True):
    item: Number


class ItemFacts(Result, frozen=True):
    item: Count
    declared: Annotated[str, Meta(description="The media type that the contributor declared")]
    private: Annotated[bool, Meta(description="Its bytes are encrypted: a node can't look into them")]
    known: Annotated[bool, Meta(description="Whether this node has the bytes, and could look into them")]
    agrees: Annotated[bool | None, Meta(description="Whether the bytes can be what they were declared as")]
    facts: FactsShown | None


@TABLE.method("item.facts", heavy=True)
def item_facts(context: Context, params: ItemFactsParams) -> ItemFacts:
    """What the bytes of an item are: media type, dimensions, duration, rows, language. From this node's copy, by its headers."""
    row = item_row(context.reader, params.item)
    private = context.reader.get(PRIVATE_ITEMS, ItemId(params.item)) is not None
    found = None if private else context.backend.facts.compute(row.content.chunk_root, row.media_type)
    return ItemFacts(
        item=params.item,
        declared=row.media_type,
        private=private,
        known=found is not None,
        agrees=agrees(row.media_type, found) if found is not None else None,
        facts=facts_shown(found) if found is not None else None,
    )


def facts_shown(facts: Facts) -> FactsShown:
    return FactsShown(**msgspec.structs.asdict(facts))
