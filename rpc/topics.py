"""What subscribers hear of a final block, by topic: the block, its transactions, and what happened to items. Pure.

Each event is made and encoded once a block, however many listen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, TypeVar

import msgspec

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.types import ADDRESS_BYTES
from rpc import present
from rpc.feed import CommittedBlock

Topic = Literal["blocks", "transactions", "items"]
K = TypeVar("K", int, bytes)

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Filter:
    """What a subscription wants; a None does not narrow it."""

    topic: str
    address: bytes | None = None
    campaign: int | None = None
    item: int | None = None


@dataclass(frozen=True, slots=True)
class _Said:
    """An encoded event, and what filters look at."""

    encoded: bytes
    addresses: frozenset[bytes] = frozenset()
    campaigns: frozenset[int] = frozenset()
    items: frozenset[int] = frozenset()

    def suits(self, wanted: Filter) -> bool:
        return (
            (wanted.address is None or wanted.address in self.addresses)
            and (wanted.campaign is None or wanted.campaign in self.campaigns)
            and (wanted.item is None or wanted.item in self.items)
        )


class _Told:
    """Events of one topic, by what filters look at: many subscriptions to one thing each must not look at all of them."""

    def __init__(self, said: Iterable[_Said]) -> None:
        self._all: Final = tuple(said)

    def about(self, wanted: Filter) -> Sequence[_Said]:
        """All that can suit a filter, in order."""
        if wanted.item is not None:
            return self._by_item.get(wanted.item, ())
        if wanted.address is not None:
            return self._by_address.get(wanted.address, ())
        if wanted.campaign is not None:
            return self._by_campaign.get(wanted.campaign, ())
        return self._all

    @cached_property
    def _by_item(self) -> dict[int, list[_Said]]:
        return _grouped((key, one) for one in self._all for key in one.items)

    @cached_property
    def _by_address(self) -> dict[bytes, list[_Said]]:
        return _grouped((key, one) for one in self._all for key in one.addresses)

    @cached_property
    def _by_campaign(self) -> dict[int, list[_Said]]:
        return _grouped((key, one) for one in self._all for key in one.campaigns)


def _grouped(pairs: Iterable[tuple[K, _Said]]) -> dict[K, list[_Said]]:
    found: dict[K, list[_Said]] = {}
    for key, one in pairs:
        found.setdefault(key, []).append(one)
    return found


class BlockEvents:
    """The events of one block, made when the first subscriber wants them."""

    def __init__(self, committed: CommittedBlock) -> None:
        self._block: Final = committed.block
        self._result: Final = committed.result

    def matching(self, wanted: Filter) -> Iterator[bytes]:
        """Events as JSON, in the order in which they happened."""
        match wanted.topic:
            case "blocks":
                said = self._blocks
            case "transactions":
                said = self._transactions
            case _:
                said = self._items
        return (one.encoded for one in said.about(wanted) if one.suits(wanted))

    @cached_property
    def _place(self) -> dict[str, Any]:
        header = self._block.header
        return {"height": header.height, "timestamp_ms": header.timestamp_ms}

    @cached_property
    def _blocks(self) -> _Told:
        header = self._block.header
        shown = {
            **self._place,
            "hash": self._block.hash.hex(),
            "proposer": present.address_text(header.proposer),
            "transactions": len(self._block.transactions),
            "base_fee": header.base_fee,
            "weight_used": header.weight_used,
        }
        return _Told((_Said(_encode(shown), frozenset({bytes(header.proposer)})),))

    @cached_property
    def _transactions(self) -> _Told:
        said: list[_Said] = []
        pairs = zip(self._block.transactions, self._result.receipts, strict=True)
        for index, (transaction, receipt) in enumerate(pairs):
            shown = {
                **self._place,
                "id": receipt.transaction_id.hex(),
                "index": index,
                "kind": transaction.body.KIND,
                "sender": present.address_text(transaction.sender),
                "code": receipt.code,
                "reason": receipt.reason,
            }
            about = _About.of(receipt.events)
            about.addresses.add(bytes(transaction.sender))
            said.append(about.said(shown))
        return _Told(said)

    @cached_property
    def _items(self) -> _Told:
        happened = [event for receipt in self._result.receipts for event in receipt.events]
        said = []
        for event in (*happened, *self._result.events):
            if any(name == "item" for name, _ in event.fields):
                said.append(_About.of((event,)).said({**present.event(event), **self._place}))
        return _Told(said)


@dataclass(slots=True)
class _About:
    """Whom and what events name."""

    addresses: set[bytes]
    campaigns: set[int]
    items: set[int]

    @classmethod
    def of(cls, events: tuple[Event, ...]) -> _About:
        about = cls(set(), set(), set())
        for event in events:
            for name, value in event.fields:
                if isinstance(value, bytes) and len(value) == ADDRESS_BYTES:
                    about.addresses.add(value)
                elif isinstance(value, int) and name == "campaign":
                    about.campaigns.add(value)
                elif isinstance(value, int) and name == "item":
                    about.items.add(value)
        return about

    def said(self, shown: dict[str, Any]) -> _Said:
        return _Said(
            _encode(shown), frozenset(self.addresses), frozenset(self.campaigns), frozenset(self.items)
        )
