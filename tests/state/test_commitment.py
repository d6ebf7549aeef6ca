"""The state root: the same for the same set of rows whatever the history, another for any other set."""

from __future__ import annotations

from hashlib import sha256, shake_128

from hypothesis import given
from hypothesis import strategies as st

from state.commitment import EMPTY, SUM_BYTES, Commitment, RowHasher, commitment_of

ROWS = st.dictionaries(st.binary(min_size=1, max_size=12), st.binary(max_size=20), max_size=12)
HISTORIES = st.lists(
    st.tuples(st.sampled_from([b"\x11a", b"\x11b", b"\x12", b"\x12\x00"]), st.none() | st.binary(max_size=3)),
    max_size=30,
)


def slow_root(rows: dict[bytes, bytes]) -> bytes:
    """The definition, in big integers: independent of the module's arithmetic."""
    tag = sha256(b"omnitensor/state-entry/1").digest()
    lanes = [0] * 84
    for key, value in rows.items():
        vector = shake_128(tag + len(key).to_bytes(2, "big") + key + value).digest(672)
        for lane in range(84):
            lanes[lane] = (lanes[lane] + int.from_bytes(vector[8 * lane : 8 * lane + 8], "little")) % 2**64
    total = b"".join(lane.to_bytes(8, "little") for lane in lanes)
    root_tag = sha256(b"omnitensor/state-root/1").digest()
    count = len(rows).to_bytes(8, "big")
    return sha256(
        root_tag + root_tag + b"\x00\x00\x00\x08" + count + len(total).to_bytes(4, "big") + total
    ).digest()


@given(ROWS)
def test_root_is_the_definitions(rows: dict[bytes, bytes]) -> None:
    assert commitment_of(rows.items()).root() == slow_root(rows)


@given(HISTORIES, st.integers(0, 5))
def test_root_forgets_history(history: list[tuple[bytes, bytes | None]], cached: int) -> None:
    """Rows written, changed and removed in any order give the root of what is left, with a cache of any size."""
    hasher = RowHasher(cached)
    commitment, rows = EMPTY, dict[bytes, bytes]()
    for key, value in history:
        commitment = commitment.changed([(key, rows.get(key), value)], hasher)
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value
    assert commitment.root() == commitment_of(sorted(rows.items(), reverse=True)).root()
    assert commitment.count == len(rows)


@given(ROWS, ROWS)
def test_other_sets_have_other_roots(one: dict[bytes, bytes], other: dict[bytes, bytes]) -> None:
    assert (commitment_of(one.items()).root() == commitment_of(other.items()).root()) == (one == other)


def test_key_and_value_are_kept_apart() -> None:
    assert commitment_of([(b"ab", b"c")]).root() != commitment_of([(b"a", b"bc")]).root()


def test_two_of_a_row_are_not_none() -> None:
    twice = EMPTY.changed([(b"a", None, b"1")]).changed([(b"a", None, b"1")])
    assert twice.root() != EMPTY.root()
    assert twice.root() != commitment_of([(b"a", b"1")]).root()


def test_removing_everything_is_the_beginning() -> None:
    rows = [(bytes([i]), b"x" * i) for i in range(1, 200)]
    full = commitment_of(rows)
    assert full.changed([(key, value, None) for key, value in rows]).root() == EMPTY.root()
    assert EMPTY.root() == Commitment(bytes(SUM_BYTES), 0).root()
