"""The trie against its definition: an independent model that knows a set and a recursion, and nothing of histories or disks."""

from __future__ import annotations

import random
from functools import lru_cache
from hashlib import sha256

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import CodecError
from omnitensor.protocol.state_proof import (
    PAGE_ENTRIES_MAX,
    StateProof,
    empty_root,
    proves_absence,
    proves_presence,
)
from state import trie
from state.commitment import EMPTY, Commitment, commitment_of
from state.trie import Inner, Node, Page, Writes

# -- the model


@lru_cache(maxsize=4_096)
def bits(key: bytes) -> str:
    return "".join(f"{byte:08b}" for byte in key)


def slow_pages(entries: dict[bytes, bytes], prefix: str = "") -> dict[str, list[tuple[bytes, bytes]]]:
    """Every page of a set, empty ones as well, by its prefix in binary digits."""
    inside = {key: value for key, value in entries.items() if bits(key).startswith(prefix)}
    if len(inside) <= 16:
        return {prefix: sorted(inside.items())}
    return slow_pages(inside, prefix + "0") | slow_pages(inside, prefix + "1")


def slow_root(entries: dict[bytes, bytes], prefix: str = "") -> bytes:
    inside = {key: value for key, value in entries.items() if bits(key).startswith(prefix)}
    if len(inside) <= 16:
        return sha256(b"\x00" + b"".join(key + inside[key] for key in sorted(inside))).digest()
    return sha256(b"\x01" + slow_root(inside, prefix + "0") + slow_root(inside, prefix + "1")).digest()


# -- keys that crowd together: most share all bits but the last few, or the first few


def _universe() -> list[bytes]:
    chance = random.Random(4)
    near = int.from_bytes(chance.randbytes(32), "big") >> 6 << 6
    keys = [near + low for low in range(40)]  # apart in the last six bits alone
    keys += [near ^ (1 << 200) ^ (low << 100) for low in range(30)]
    keys += [(5 << 253) | (low << 240) for low in range(30)]
    keys += [int.from_bytes(chance.randbytes(32), "big") for _ in range(40)]
    keys += [0, 2**256 - 1]
    return [key.to_bytes(32, "big") for key in keys]


UNIVERSE = _universe()
CHANGE = st.tuples(st.integers(0, len(UNIVERSE) - 1), st.sampled_from([None, None, b"a" * 32, b"b" * 32]))
SPAN = st.tuples(
    st.integers(0, len(UNIVERSE)), st.integers(1, len(UNIVERSE)), st.sampled_from([None, b"c" * 32])
).map(lambda span: [(index % len(UNIVERSE), span[2]) for index in range(span[0], span[0] + span[1])])
BATCHES = st.lists(st.lists(CHANGE, max_size=12) | SPAN, max_size=8)


class Disk:
    """Pages by place, written as a chain writes them."""

    def __init__(self) -> None:
        self.pages: dict[bytes, bytes] = {}
        self.reads = 0

    def read(self, place: bytes) -> bytes:
        self.reads += 1
        return self.pages[place]

    def apply(self, writes: Writes) -> None:
        for place, page in writes.items():
            if page is None:
                self.pages.pop(place, None)
            else:
                assert page.entries is not None
                self.pages[place] = page.entries

    def compare(self, entries: dict[bytes, bytes]) -> None:
        """What is on disk is the model's pages that hold something, under their prefixes."""
        expected = {}
        for prefix, rows in slow_pages(entries).items():
            if rows:
                place = int(prefix.ljust(256, "0"), 2).to_bytes(32, "big") + bytes([len(prefix)])
                expected[place] = b"".join(key + value for key, value in rows)
        assert self.pages == expected


def forget_entries(node: Node) -> None:
    """Leaves every page on disk alone."""
    for _, page in trie.pages(node):
        page.entries = None


def as_changes(batch: list[tuple[int, bytes | None]]) -> dict[bytes, bytes | None]:
    return {UNIVERSE[index]: value for index, value in batch}


def after(entries: dict[bytes, bytes], changes: dict[bytes, bytes | None]) -> dict[bytes, bytes]:
    return {key: value for key, value in (entries | changes).items() if value is not None}


FULL = [(index, b"a" * 32) for index in range(len(UNIVERSE))]


@given(BATCHES, st.booleans())
@example([FULL[:17], [(0, None)]], True)  # a page too many, and one page again
@example([FULL[:40], [(index, None) for index in range(17, 40)], [(16, None)]], True)
@example([FULL[:17], [(index, None) for index in range(17)]], False)
@settings(max_examples=200, deadline=None)
def test_any_history_gives_the_definitions_root_and_pages(
    batches: list[list[tuple[int, bytes | None]]], in_memory: bool
) -> None:
    node: Node = trie.EMPTY
    disk, entries = Disk(), dict[bytes, bytes]()
    for batch in batches:
        changes = as_changes(batch)
        before, before_hash = node, node.hash
        node, writes = trie.changed(node, changes, disk.read)
        entries = after(entries, changes)
        assert before.hash == before_hash
        assert node.hash == slow_root(entries)
        disk.apply(writes)
        disk.compare(entries)
        if not in_memory:
            forget_entries(node)
        loaded = trie.loaded(iter(sorted(disk.pages.items())))
        assert loaded.hash == node.hash
        assert shape(loaded) == shape(node)
        again, nothing = trie.changed(node, changes, disk.read)
        assert again is node
        assert not nothing
    assert in_memory is False or disk.reads == 0
    built = trie.built(sorted(key + value for key, value in entries.items()))
    assert built.hash == node.hash


def shape(node: Node) -> object:
    return (shape(node.left), shape(node.right)) if isinstance(node, Inner) else node.count


@given(BATCHES, st.lists(CHANGE, max_size=20), st.lists(CHANGE, max_size=20))
@settings(max_examples=100, deadline=None)
def test_rivals_on_one_parent_do_not_disturb_each_other(
    batches: list[list[tuple[int, bytes | None]]],
    one: list[tuple[int, bytes | None]],
    other: list[tuple[int, bytes | None]],
) -> None:
    """As candidates do: both are executed on a parent, one is written, and what was built on it goes on."""
    disk, node, entries = Disk(), trie.EMPTY, dict[bytes, bytes]()
    parent: Node = node
    for batch in batches:
        parent, writes = trie.changed(parent, as_changes(batch), disk.read)
        entries = after(entries, as_changes(batch))
        disk.apply(writes)
    forget_entries(parent)
    first, first_writes = trie.changed(parent, as_changes(one), disk.read)
    second, _ = trie.changed(parent, as_changes(other), disk.read)
    child, child_writes = trie.changed(first, as_changes(other), disk.read)
    assert first.hash == slow_root(after(entries, as_changes(one)))
    assert second.hash == slow_root(after(entries, as_changes(other)))
    disk.apply(first_writes)
    for page in first_writes.values():
        if page is not None:
            page.entries = None
    final = after(after(entries, as_changes(one)), as_changes(other))
    assert child.hash == slow_root(final)
    disk.apply(child_writes)
    disk.compare(final)


# -- rows, roots, proofs

ROWS = st.dictionaries(st.integers(0, 400).map(lambda n: b"\x11%d" % n), st.binary(max_size=6), max_size=60)


def model_of(rows: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {sha256(key).digest(): sha256(value).digest() for key, value in rows.items()}


def no_page(place: bytes) -> bytes:
    raise AssertionError("all pages are in memory")


@given(ROWS)
def test_root_is_the_definitions(rows: dict[bytes, bytes]) -> None:
    assert commitment_of(rows.items()).root() == slow_root(model_of(rows))
    changed = EMPTY.changed(rows.items(), no_page).commitment
    assert changed.root() == commitment_of(rows.items()).root()
    assert changed.count() == len(rows)


@given(ROWS, ROWS)
def test_other_sets_have_other_roots(one: dict[bytes, bytes], other: dict[bytes, bytes]) -> None:
    assert (commitment_of(one.items()).root() == commitment_of(other.items()).root()) == (one == other)


def test_nothing_has_the_root_of_an_empty_page() -> None:
    assert EMPTY.root() == empty_root() == sha256(b"\x00").digest() == Commitment().root()


@given(ROWS, st.integers(0, 500))
def test_every_key_is_proven_present_or_absent(rows: dict[bytes, bytes], number: int) -> None:
    commitment = commitment_of(rows.items())
    for key in [*rows, b"\x11%d" % number, b""]:
        proof = commitment.prove(key, no_page)
        assert proves_absence(commitment.root(), key, proof) == (key not in rows)
        value = rows.get(key, b"nothing")
        assert proves_presence(commitment.root(), key, value, proof) == (key in rows)
        assert not proves_presence(commitment.root(), key, value + b"!", proof)
        assert not proves_absence(sha256(commitment.root()).digest(), key, proof)


def sample() -> tuple[Commitment, dict[bytes, bytes]]:
    rows = {b"\x11account %d" % number: b"value %d" % number for number in range(300)}
    return commitment_of(rows.items()), rows


def test_every_mutated_byte_of_a_proof_is_rejected() -> None:
    commitment, rows = sample()
    root, chance = commitment.root(), random.Random(7)
    for key in (b"\x11account 7", b"\x11account 300", b"\x11nobody"):
        encoded = encode(commitment.prove(key, no_page))
        for at in range(len(encoded)):
            for mask in (1, 0x80, chance.randrange(1, 256)):
                forged = bytearray(encoded)
                forged[at] ^= mask
                assert not _convinces(root, key, rows.get(key), bytes(forged)), (key, at, mask)
            shorter, longer = encoded[:at] + encoded[at + 1 :], encoded[:at] + b"\0" + encoded[at:]
            assert not _convinces(root, key, rows.get(key), shorter)
            assert not _convinces(root, key, rows.get(key), longer)
        assert _convinces(root, key, rows.get(key), encoded)


def _convinces(root: bytes, key: bytes, value: bytes | None, encoded: bytes) -> bool:
    """Whether these bytes are a proof of anything about the key."""
    try:
        proof = decode(StateProof, encoded)
    except CodecError:
        return False
    return proves_absence(root, key, proof) or (
        value is not None and proves_presence(root, key, value, proof)
    )


def test_nothing_proves_a_present_key_absent() -> None:
    """Every page of the trie with its way, those ways cut and stretched, and pages with the row taken out or moved."""
    commitment, rows = sample()
    root, key = commitment.root(), b"\x11account 7"
    hashed = sha256(key).digest()
    own = commitment.prove(key, no_page)
    proofs = [commitment.prove(other, no_page) for other in rows]
    for proof in proofs:
        for siblings in (
            proof.siblings,
            proof.siblings[:-1],
            proof.siblings[1:],
            own.siblings,
            (*own.siblings, sha256(b"\x00").digest()),
            own.siblings * 90,
            (),
        ):
            assert not proves_absence(root, key, StateProof(proof.page, siblings))  # type: ignore[arg-type] # hashes
    at = own.page.index(hashed)
    without = own.page[:at] + own.page[at + 64 :]
    reordered = own.page[64:] + own.page[:64]
    for page in (without, b"", reordered, own.page + own.page[:64], own.page[:-1], own.page[: at + 32]):
        assert not proves_absence(root, key, StateProof(page, own.siblings))


def test_pages_that_no_honest_trie_has_prove_nothing() -> None:
    """A liar's root over a page in the wrong place, out of order, with a key twice, or of too many entries."""
    keys = sorted(sha256(b"%d" % number).digest() for number in range(40))
    low, high = [key for key in keys if key[0] < 128], [key for key in keys if key[0] >= 128]
    value, asked = sha256(b"v").digest(), b"7"
    hashed = sha256(asked).digest()

    def page(of: list[bytes]) -> bytes:
        return b"".join(key + value for key in of)

    def root(data: bytes) -> bytes:
        return sha256(b"\x00" + data).digest()

    for of in ([*low[:1], hashed, *low[:1]], sorted([hashed, hashed]), keys[:17], [keys[1], keys[0]]):
        assert not proves_presence(root(page(of)), asked, b"v", StateProof(page(of), ()))
        assert not proves_absence(root(page(of)), b"other", StateProof(page(of), ()))
    wrong = high if hashed[0] < 128 else low
    strange = page(sorted([hashed, wrong[0]]))
    sibling = root(b"")
    pair = root(strange) + sibling if hashed[0] < 128 else sibling + root(strange)
    above = sha256(b"\x01" + pair).digest()
    assert not proves_presence(above, asked, b"v", StateProof(strange, (sibling,)))  # type: ignore[arg-type] # a hash


def test_a_page_can_not_pass_for_an_inner_node() -> None:
    """One entry is as long as two hashes; the first byte tells them apart."""
    left, right = sha256(b"l").digest(), sha256(b"r").digest()
    inner = sha256(b"\x01" + left + right).digest()
    for key in (b"a", b"b"):
        assert not proves_absence(inner, key, StateProof(left + right, ()))


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 18, 200])
def test_a_page_holds_sixteen(count: int) -> None:
    rows = [(b"%d" % number, b"") for number in range(count)]
    node = commitment_of(rows).node
    assert isinstance(node, Page) == (count <= PAGE_ENTRIES_MAX)


# -- planted faults: the model must see them


def _differs(batches: list[list[tuple[int, bytes | None]]]) -> bool:
    node: Node = trie.EMPTY
    entries: dict[bytes, bytes] = {}
    for batch in batches:
        node, _ = trie.changed(node, as_changes(batch), no_page)
        entries = after(entries, as_changes(batch))
        if node.hash != slow_root(entries):
            return True
    return False


def test_planted_faults_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    history = [FULL, [(index, None) for index in range(0, 140, 3)], [(index, None) for index in range(142)]]
    assert not _differs(history)

    def never_merged(self: object, left: Node, right: Node, depth: int, number: int) -> Node:
        return Inner(sha256(b"\x01" + left.hash + right.hash).digest(), left, right)

    def at_the_end(entries: bytes, key: bytes, value: bytes | None) -> bytes:
        return entries if value is None else entries + key + value

    for name, where, fault in (
        ("_joined", trie._Work, never_merged),
        ("_with", trie, at_the_end),
        ("_PAGE", trie, b""),
        ("PAGE_ENTRIES_MAX", trie, 15),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, fault)
            small = [[(index, b"a" * 32)] for index in range(len(UNIVERSE) - 1, 90, -1)]
            assert _differs([*small, *history]), name
