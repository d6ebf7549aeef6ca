"""The codec: one encoding for one value, with the `msgpack` library and the public suite as independent oracles.

Records are checked as the protocol defines them: every record class in `omnitensor.protocol` is found, its fields are
looked over, and values of it are made from its types alone.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

import omnitensor.protocol
from omnitensor.protocol.ballots import Certificate, Vote, VoteKind
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.codec import Record, decode, encode
from omnitensor.protocol.errors import CodecError, LimitError, ProtocolError
from omnitensor.protocol.evidence import ConflictingCertificates, ConflictingVotes
from tests.protocol.vector_file import VectorFile

# -- the public suite

SUPPORTED: list[Any] = [
    int,
    bytes,
    str,
    bool,
    type(None),
    tuple[int, ...],
    tuple[str, ...],
    tuple[bytes, ...],
    tuple[tuple[int, ...], ...],
]


def kind_and_value(case: dict[str, Any]) -> tuple[Any, Any] | None:
    """The type that a case's value has here, and the value; None where the codec supports no such value."""
    if "bignum" in case:
        return int, int(case["bignum"])
    match case:
        case {"nil": _}:
            return type(None), None
        case {"bool": bool(value)}:
            return bool, value
        case {"binary": str(text)}:
            return bytes, bytes.fromhex(text.replace("-", ""))
        case {"number": int(value)}:
            return int, value
        case {"string": str(text)}:
            return str, text
        case {"array": list(values)}:
            return kind_and_value_of_array(values)
        case {"number": float()} | {"map": _} | {"timestamp": _} | {"ext": _}:
            return None
    raise AssertionError(f"a case of an unknown kind: {case}")


def kind_and_value_of_array(values: list[Any]) -> tuple[Any, Any] | None:
    if all(isinstance(value, int) for value in values):
        return tuple[int, ...], tuple(values)
    if all(isinstance(value, str) for value in values):
        return tuple[str, ...], tuple(values)
    if all(value == [] for value in values) and all(isinstance(value, list) for value in values):
        return tuple[tuple[int, ...], ...], tuple(() for _ in values)
    return None


def test_msgpack_suite() -> None:
    file = VectorFile("vectors/msgpack.json", depth=2)
    supported = 0
    for name, case in file.under():
        encodings = [bytes.fromhex(text.replace("-", "")) for text in case["msgpack"]]
        assert encodings, name
        known = kind_and_value(case)
        if known is None:
            for data in encodings:
                assert_refused_as_anything(data, name)
            continue
        kind, value = known
        supported += 1
        canonical = [data for data in encodings if accepted(kind, data)]
        assert canonical == [encode(value)] == [msgpack.packb(value, use_bin_type=True)], name
        assert decode(kind, canonical[0]) == value, name
    assert supported
    file.done()


def accepted(kind: Any, data: bytes) -> bool:
    try:
        decode(kind, data)
    except CodecError:
        return False
    return True


def assert_refused_as_anything(data: bytes, name: str) -> None:
    for kind in SUPPORTED:
        with pytest.raises(CodecError):
            decode(kind, data)
            pytest.fail(f"{name}: {data.hex()} was taken for a {kind}")


# -- values against the msgpack library

integers = st.integers(-(2**63), 2**64 - 1)
plain = st.recursive(
    st.one_of(integers, st.binary(max_size=300), st.text(max_size=100), st.booleans(), st.none()),
    lambda inner: st.lists(inner, max_size=20).map(tuple),
    max_leaves=40,
)


@given(plain)
def test_bytes_are_those_of_the_msgpack_library(value: Any) -> None:
    assert encode(value) == msgpack.packb(value, use_bin_type=True)


@given(st.one_of(integers, st.sampled_from([0, 127, 128, 255, 256, 2**16, 2**32 - 1, 2**32, -32, -33, -129])))
def test_longer_forms_of_an_integer_are_refused(value: int) -> None:
    forms = [
        (b"\xcc", 1, 0, 2**8),
        (b"\xcd", 2, 0, 2**16),
        (b"\xce", 4, 0, 2**32),
        (b"\xcf", 8, 0, 2**64),
        (b"\xd0", 1, -(2**7), 2**7),
        (b"\xd1", 2, -(2**15), 2**15),
        (b"\xd2", 4, -(2**31), 2**31),
        (b"\xd3", 8, -(2**63), 2**63),
    ]
    shortest = msgpack.packb(value)
    for lead, size, low, high in forms:
        if low <= value < high:
            data = lead + value.to_bytes(size, "big", signed=low < 0)
            assert msgpack.unpackb(data) == value
            assert accepted(int, data) is (data == shortest)


@given(st.binary(max_size=70), st.integers(0, 2))
def test_longer_forms_of_byte_strings_and_texts_are_refused(value: bytes, width: int) -> None:
    length = len(value).to_bytes(2**width, "big")
    data = bytes([0xC4 + width]) + length + value
    assert accepted(bytes, data) is (width == 0)
    text = value.hex()
    data = bytes([0xD9 + width]) + len(text).to_bytes(2**width, "big") + text.encode()
    assert accepted(str, data) is (width == 0 and len(text) > 31)


def test_texts_are_utf8_and_nothing_else_is_text() -> None:
    for wrong in (b"\xa1\xff", b"\xa3\xed\xa0\x80", b"\xa2\xc0\x80", b"\xa1\xc3"):
        with pytest.raises(CodecError):
            decode(str, wrong)
    for kind, data in ((bytes, encode("a")), (str, encode(b"a")), (int, encode(True)), (bool, encode(1))):
        with pytest.raises(CodecError):
            decode(kind, data)


# -- every record of the protocol


def records() -> list[type[Record]]:
    """Every record class that some module of the protocol defines, by name."""
    for module in pkgutil.iter_modules(omnitensor.protocol.__path__):
        importlib.import_module(f"omnitensor.protocol.{module.name}")
    found: list[type[Record]] = []
    waiting = list(Record.__subclasses__())
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        if kind.__module__.startswith("omnitensor.protocol"):
            found.append(kind)
    return sorted(found, key=lambda kind: f"{kind.__module__}.{kind.__name__}")


RECORDS = records()
each_record = pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type as the decoder accepts them, from the type's own description."""
    match kind:
        case inspect.IntType():
            low = -(2**63) if kind.ge is None else kind.ge
            return st.integers(low, 2**64 - 1 if kind.le is None else kind.le)
        case inspect.BytesType():
            least = kind.min_length or 0
            return st.binary(min_size=least, max_size=max(least, min_of(kind.max_length, 40)))
        case inspect.StrType():
            letters = st.characters(exclude_categories=["Cs"])
            return st.text(letters, min_size=kind.min_length or 0, max_size=min_of(kind.max_length, 20))
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.EnumType():
            return st.sampled_from(list(kind.cls))
        case inspect.VarTupleType():
            most = min_of(kind.max_length, 4)
            return st.lists(values_of(kind.item_type), min_size=kind.min_length or 0, max_size=most).map(
                tuple
            )
        case inspect.TupleType():
            return st.tuples(*map(values_of, kind.item_types))
        case inspect.UnionType():
            return st.one_of(*map(values_of, kind.types))
        case inspect.StructType() if kind.cls is Event:
            value = st.one_of(integers, st.text(max_size=8), st.binary(max_size=40))
            return st.builds(
                Event, st.text(max_size=8), st.lists(st.tuples(st.text(max_size=8), value)).map(tuple)
            )
        case inspect.StructType() if kind.cls in (ConflictingVotes, ConflictingCertificates):
            # These can't be built without a conflict, so one is made: the same message, and another candidate.
            first = values_of(kind.fields[0].type)
            return first.map(lambda message: kind.cls.of(*contradicting(message)))
        case inspect.StructType():
            return st.builds(kind.cls, *(values_of(field.type) for field in kind.fields))
    raise AssertionError(f"the codec's records hold no {kind}")


def contradicting(message: Vote | Certificate) -> tuple[Any, Any]:
    """Two NOTARIZE of one view, for different candidates, by the same signers."""
    other = bytes(byte ^ 1 for byte in message.candidate_id)
    found = [
        msgspec.structs.replace(message, kind=VoteKind.NOTARIZE, candidate_id=candidate)
        for candidate in (message.candidate_id, other)
    ]
    if isinstance(message, Certificate):
        found = [msgspec.structs.replace(each, signers=b"\x07" + message.signers[1:]) for each in found]
    return found[0], found[1]


def min_of(length: int | None, most: int) -> int:
    return most if length is None else max(min(length, most), length if length in (32, 33, 48, 64, 96) else 0)


def plain_of(value: Any) -> Any:
    """A record as the arrays it is on the wire."""
    if isinstance(value, msgspec.Struct):
        tag = value.__struct_config__.tag
        fields = [plain_of(getattr(value, name)) for name in value.__struct_fields__]
        return fields if tag is None else [tag, *fields]
    if isinstance(value, tuple):
        return [plain_of(each) for each in value]
    return value


@pytest.mark.parametrize("value", [1.0, None, [], {}, [1], {"a": 1}, msgpack.Timestamp(1)])
def test_an_event_holds_integers_texts_and_bytes(value: Any) -> None:
    assert decode(Event, msgpack.packb(["paid", [["amount", 1]]])) == Event("paid", (("amount", 1),))
    with pytest.raises(CodecError):
        decode(Event, msgpack.packb(["paid", [["amount", value]]]))
    with pytest.raises(TypeError):
        Event("paid", (("amount", value),))


def test_there_are_records() -> None:
    assert {"ContentId", "ItemScore"} <= {kind.__name__ for kind in RECORDS}


@each_record
def test_a_record_is_frozen_and_holds_only_what_has_one_encoding(kind: type[Record]) -> None:
    described = inspect.type_info(kind)
    values_of(described)  # fails on any field that is a float, a map, a list, a set or untyped
    config = kind.__struct_config__
    assert config.frozen
    assert config.array_like
    assert config.forbid_unknown_fields
    assert not config.omit_defaults


@each_record
@settings(max_examples=15, deadline=None)
@given(st.data())
def test_a_record_round_trips_as_the_msgpack_library_writes_it(
    kind: type[Record], draw: st.DataObject
) -> None:
    value = draw.draw(values_of(inspect.type_info(kind)))
    data = encode(value)
    assert data == msgpack.packb(plain_of(value), use_bin_type=True)
    assert decode(kind, data) == value
    assert encode(decode(kind, data)) == data


@each_record
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_damaged_bytes_are_refused_or_are_another_records_canonical_bytes(
    kind: type[Record], draw: st.DataObject
) -> None:
    data = encode(draw.draw(values_of(inspect.type_info(kind))))
    damaged = draw.draw(damages(data))
    try:
        value = decode(kind, damaged)
    except CodecError:
        return
    assert msgpack.packb(plain_of(value), use_bin_type=True) == damaged


def damages(data: bytes) -> st.SearchStrategy[bytes]:
    places = st.integers(0, len(data) - 1)
    return st.one_of(
        st.tuples(places, st.integers(0, 255)).map(lambda t: data[: t[0]] + bytes([t[1]]) + data[t[0] + 1 :]),
        places.map(lambda place: data[:place]),
        st.binary(min_size=1, max_size=4).map(lambda more: data + more),
        st.tuples(places, st.binary(min_size=1, max_size=3)).map(
            lambda t: data[: t[0]] + t[1] + data[t[0] :]
        ),
    )


@each_record
@settings(max_examples=10, deadline=None)
@given(st.data())
def test_fields_too_few_or_too_many_are_refused(kind: type[Record], draw: st.DataObject) -> None:
    """Even where the last fields have defaults, which a lax decoder would fill in."""
    fields = plain_of(draw.draw(values_of(inspect.type_info(kind))))
    for wrong in ([*fields, 0], [*fields, None], fields[:-1]):
        if wrong == fields:
            continue
        with pytest.raises(CodecError):
            decode(kind, msgpack.packb(wrong, use_bin_type=True))


@settings(max_examples=300)
@given(st.sampled_from(RECORDS), st.binary(max_size=60))
def test_any_bytes_are_decoded_or_refused_with_a_typed_error(kind: type[Record], data: bytes) -> None:
    try:
        value = decode(kind, data)
    except ProtocolError:
        return
    assert encode(value) == data


@pytest.mark.parametrize(
    "data",
    [b"\x91" * 5_000, b"\x91" * 5_000 + b"\xc0", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b""],
)
def test_deep_and_boastful_bytes_are_refused(data: bytes) -> None:
    for kind in RECORDS:
        with pytest.raises(CodecError):
            decode(kind, data)


def test_bytes_over_the_limit_are_not_decoded() -> None:
    data = encode(b"x" * 100)
    assert decode(bytes, data, bytes_max=len(data)) == b"x" * 100
    with pytest.raises(LimitError, match="102 bytes"):
        decode(bytes, data, bytes_max=len(data) - 1)
