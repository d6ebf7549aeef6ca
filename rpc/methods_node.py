"""Methods p2p.*, node.*, subscribe.* and rpc.discover: node, peers, subscriptions, and the document of all this."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from rpc.errors import not_found
from rpc.fields import AddressText, Count, Number, TaskId, address_of, number_of, shown
from rpc.openrpc import document
from rpc.table import TABLE, Context, NoParams, Params, Result
from rpc.topics import Topic


class PeerShown(Result, frozen=True):
    peer_id: str
    address: str
    name: str
    version: str
    inbound: bool
    height: Count
    score: int
    connected_ms: Count


class PeersShown(Result, frozen=True):
    peers: list[PeerShown]


@TABLE.method("p2p.peers")
def peers(context: Context, params: NoParams) -> PeersShown:
    """Connected peers. Their names and heights are what they say."""
    return PeersShown(
        peers=[
            PeerShown(
                peer_id=peer.peer_id,
                address=peer.address,
                name=peer.name,
                version=peer.version,
                inbound=peer.inbound,
                height=peer.height,
                score=peer.score,
                connected_ms=peer.connected_ms,
            )
            for peer in context.backend.peers()
        ]
    )


class ContentUsage(Result, frozen=True):
    bytes: Count
    unreferenced_bytes: Annotated[Count, Meta(description="Of these, what no submission refers to yet")]
    quota_bytes: Count
    objects: Count
    uploads: Annotated[Count, Meta(description="Uploads on their way")]


class ClockShown(Result, frozen=True):
    ahead_ms: Annotated[
        int | None,
        Meta(
            description="How far the node's clock is ahead of its peers' (below zero: behind), by their median; null: too few say"
        ),
    ]
    peers: Annotated[Count, Meta(description="Peers whose clocks that is the median of")]
    wrong: Annotated[
        bool, Meta(description="For a while it has been further off than a block may be ahead of a clock")
    ]


class NodeInfo(Result, frozen=True):
    name: str
    version: str
    peer_id: str
    validator: AddressText | None
    p2p_listen: str
    started_ms: Count
    view: Annotated[Count, Meta(description="View that consensus is in")]
    height: Count
    syncing: bool
    ready: bool
    not_ready_reason: str
    peers: Count
    clock: ClockShown
    content: ContentUsage


@TABLE.method("node.info")
def info(context: Context, params: NoParams) -> NodeInfo:
    """This node: who it is, how it fares, and what its store holds."""
    node, usage = context.backend.status(), context.backend.content.usage()
    return NodeInfo(
        name=node.name,
        version=node.version,
        peer_id=node.peer_id,
        validator=None if node.validator is None else shown(node.validator),
        p2p_listen=node.p2p_listen,
        started_ms=node.started_ms,
        view=node.view,
        height=context.reader.head.height,
        syncing=node.syncing,
        ready=node.ready,
        not_ready_reason=node.not_ready_reason,
        peers=len(context.backend.peers()),
        clock=ClockShown(ahead_ms=node.clock_ahead_ms, peers=node.clock_peers, wrong=node.clock_wrong),
        content=ContentUsage(
            bytes=usage.total,
            unreferenced_bytes=usage.unreferenced,
            quota_bytes=usage.quota,
            objects=usage.objects,
            uploads=usage.uploads,
        ),
    )


class FilterParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Narrows a subscription; what is left out does not."""

    address: AddressText | None = None
    campaign: TaskId | None = None
    item: Number | None = None


class SubscribeParams(Params, frozen=True):
    topic: Topic
    filter: FilterParams = FilterParams()


class Subscribed(Result, frozen=True):
    subscription: str


@TABLE.method("subscribe.open", socket=True)
def subscribe(context: Context, params: SubscribeParams) -> Subscribed:
    """Events of final blocks from now on, as notifications subscribe.event {subscription, topic, event}. WebSocket only."""
    assert context.session is not None, "the table lets only WebSockets in"
    wanted = params.filter
    address = None if wanted.address is None else bytes(address_of(wanted.address))
    campaign = None if wanted.campaign is None else number_of(wanted.campaign)
    return Subscribed(subscription=context.session.open(params.topic, address, campaign, wanted.item))


class UnsubscribeParams(Params, frozen=True):
    subscription: Annotated[str, Meta(max_length=32)]


class Unsubscribed(Result, frozen=True):
    closed: bool


@TABLE.method("subscribe.close", socket=True)
def unsubscribe(context: Context, params: UnsubscribeParams) -> Unsubscribed:
    """Ends a subscription of this WebSocket."""
    assert context.session is not None, "the table lets only WebSockets in"
    if not context.session.close(params.subscription):
        raise not_found("subscription", params.subscription, "it may be closed already")
    return Unsubscribed(closed=True)


@TABLE.method("rpc.discover", heavy=True)
def discover(context: Context, params: NoParams) -> dict[str, Any]:
    """This interface as an OpenRPC document, made from the table that serves it."""
    return _document()


@cache
def _document() -> dict[str, Any]:
    """Made once: it takes a tenth of a second, and the table does not change."""
    return document(TABLE)
