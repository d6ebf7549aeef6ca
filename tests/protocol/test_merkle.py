"""Merkle trees against RFC 6962's own recursive definitions, and against public vectors."""

from __future__ import annotations

import base64
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnitensor.protocol import merkle
from tests.protocol.vector_file import VectorFile

# The definitions of RFC 6962, section 2.1, word for word and slow. D is a list of leaf data.


def mth(d: list[bytes]) -> bytes:
    if not d:
        return sha256(b"").digest()
    if len(d) == 1:
        return sha256(b"\x00" + d[0]).digest()
    k = split(len(d))
    return sha256(b"\x01" + mth(d[:k]) + mth(d[k:])).digest()


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def path(m: int, d: list[bytes]) -> list[bytes]:
    if len(d) == 1:
        return []
    k = split(len(d))
    return [*path(m, d[:k]), mth(d[k:])] if m < k else [*path(m - k, d[k:]), mth(d[:k])]


def subproof(m: int, d: list[bytes], b: bool) -> list[bytes]:
    if m == len(d):
        return [] if b else [mth(d)]
    k = split(len(d))
    if m <= k:
        return [*subproof(m, d[:k], b), mth(d[k:])]
    return [*subproof(m - k, d[k:], False), mth(d[:k])]


def leaves_of(data: list[bytes]) -> list[bytes]:
    return [merkle.leaf_hash(each) for each in data]


trees = st.lists(st.binary(max_size=8), min_size=1, max_size=40)


@given(st.lists(st.binary(max_size=8), max_size=70))
def test_roots_are_those_of_the_definition(data: list[bytes]) -> None:
    builder = merkle.RootBuilder()
    assert builder.root() == merkle.root([]) == mth([])
    for count, leaf in enumerate(leaves_of(data), 1):
        builder.push(leaf)
        assert (builder.size, builder.root()) == (count, mth(data[:count]))
    assert merkle.root(leaves_of(data)) == merkle.root_of(data) == mth(data)


@given(trees, st.data())
def test_inclusion_proofs_are_those_of_the_definition(data: list[bytes], draw: st.DataObject) -> None:
    index = draw.draw(st.integers(0, len(data) - 1))
    proof = merkle.inclusion_proof(leaves_of(data), index)
    assert proof == path(index, data)
    leaf, root = merkle.leaf_hash(data[index]), mth(data)
    assert merkle.verify_inclusion(leaf, index, len(data), proof, root)


@given(trees, st.data())
def test_consistency_proofs_are_those_of_the_definition(data: list[bytes], draw: st.DataObject) -> None:
    size = draw.draw(st.integers(1, len(data)))
    proof = merkle.consistency_proof(leaves_of(data), size)
    assert proof == subproof(size, data, True)
    assert merkle.verify_consistency(size, len(data), proof, mth(data[:size]), mth(data))


hashes = st.binary(min_size=32, max_size=32)


@given(trees, st.data())
def test_a_changed_inclusion_proof_fails(data: list[bytes], draw: st.DataObject) -> None:
    index = draw.draw(st.integers(0, len(data) - 1))
    leaf, proof, root = merkle.leaf_hash(data[index]), tuple(path(index, data)), mth(data)
    strange = draw.draw(
        st.one_of(hashes, st.binary(max_size=70)).filter(lambda value: value not in (leaf, root))
    )
    assert not merkle.verify_inclusion(strange, index, len(data), proof, root)
    assert not merkle.verify_inclusion(leaf, index, len(data), proof, strange)
    assert not merkle.verify_inclusion(leaf, index, len(data), draw.draw(mutations(proof)), root)
    assert not merkle.verify_inclusion(leaf, draw.draw(outside(len(data))), len(data), proof, root)
    # The size is bound only where it changes the path; where it is too small for the index it never verifies.
    assert not merkle.verify_inclusion(leaf, index, draw.draw(st.integers(-3, index)), proof, root)


def outside(size: int) -> st.SearchStrategy[int]:
    return st.one_of(st.integers(-5, -1), st.integers(size, 2**65))


@given(st.lists(st.binary(max_size=8), min_size=2, max_size=40, unique=True), st.data())
def test_a_proof_is_of_one_place(data: list[bytes], draw: st.DataObject) -> None:
    index, other = draw.draw(st.lists(st.integers(0, len(data) - 1), min_size=2, max_size=2, unique=True))
    assert not merkle.verify_inclusion(
        merkle.leaf_hash(data[index]), other, len(data), path(index, data), mth(data)
    )


@given(trees, st.data())
def test_a_changed_consistency_proof_fails(data: list[bytes], draw: st.DataObject) -> None:
    size = draw.draw(st.integers(1, len(data)))
    proof, old, new = tuple(subproof(size, data, True)), mth(data[:size]), mth(data)
    assert not merkle.verify_consistency(size, len(data), draw.draw(mutations(proof)), old, new)
    for strange in (old[:-1], old + b"x", bytes(32), b""):
        assert not merkle.verify_consistency(size, len(data), proof, strange, new)
        assert not merkle.verify_consistency(size, len(data), proof, old, strange)
    assert not merkle.verify_consistency(len(data) + 1, len(data), proof, old, new)
    assert not merkle.verify_consistency(0, len(data), proof, old, new)
    assert not merkle.verify_consistency(-1, len(data), proof, old, new)


def mutations(proof: tuple[bytes, ...]) -> st.SearchStrategy[tuple[bytes, ...]]:
    """A proof with one hash more, one less, or one bit turned."""
    longer = st.tuples(st.integers(0, len(proof)), hashes).map(
        lambda change: (*proof[: change[0]], change[1], *proof[change[0] :])
    )
    if not proof:
        return longer

    def turn(change: tuple[int, int]) -> tuple[bytes, ...]:
        place, bit = change
        turned = (int.from_bytes(proof[place], "big") ^ 1 << bit).to_bytes(32, "big")
        return (*proof[:place], turned, *proof[place + 1 :])

    shorter = st.integers(0, len(proof) - 1).map(lambda place: proof[:place] + proof[place + 1 :])
    return st.one_of(
        longer, shorter, st.tuples(st.integers(0, len(proof) - 1), st.integers(0, 255)).map(turn)
    )


def test_a_node_is_no_leaf() -> None:
    """A leaf whose 64 bytes are two hashes is not the node over them; nor does a repeated leaf make the same tree."""
    a, b = merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")
    assert merkle.root_of([a + b]) != merkle.root_of([b"a", b"b"])
    assert merkle.root_of([b"a", b"b", b"c"]) != merkle.root_of([b"a", b"b", b"c", b"c"])


def test_asking_for_a_leaf_that_is_not_there_is_a_bug() -> None:
    leaves = leaves_of([b"a", b"b"])
    for index in (-1, 2):
        with pytest.raises(AssertionError):
            merkle.inclusion_proof(leaves, index)
    for size in (0, 3):
        with pytest.raises(AssertionError):
            merkle.consistency_proof(leaves, size)


def raw(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def raws(texts: list[str] | None) -> list[bytes]:
    return [raw(text) for text in texts or []]


def test_rfc6962_vectors() -> None:
    file = VectorFile("vectors/rfc6962.json", depth=2)
    for name, case in file.under("inclusion"):
        verdict = merkle.verify_inclusion(
            raw(case["leafHash"]), case["leafIdx"], case["treeSize"], raws(case["proof"]), raw(case["root"])
        )
        assert verdict is not expects_error(case), f"inclusion {name}"
    for name, case in file.under("consistency"):
        verdict = merkle.verify_consistency(
            case["size1"], case["size2"], raws(case["proof"]), raw(case["root1"]), raw(case["root2"])
        )
        assert verdict is not expects_error(case), f"consistency {name}"
    file.done()


def expects_error(case: dict[str, Any]) -> bool:
    expected = case["wantErr"]
    assert isinstance(expected, bool)
    return expected
