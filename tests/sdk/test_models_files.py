"""What models are read from and written to: cards, safetensors, tables, rows; and strangers' files that are none of these."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from omnitensor.protocol import limits
from omnitensor.protocol.errors import ProtocolError
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.models import Exported, IntegerModel, export_model, network_in
from omnitensor.sdk.models.card import read_card
from omnitensor.sdk.models.files import read_rows, read_table
from omnitensor.sdk.models.from_tensors import tensors_of
from omnitensor.sdk.models.scoring import card_path


def safetensors(tensors: dict[str, tuple[str, Any]], metadata: bool = True) -> bytes:
    """A file of arrays, written as the format says."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}} if metadata else {}
    body = b""
    for name, (dtype, values) in tensors.items():
        data = values.tobytes()
        header[name] = {
            "dtype": dtype,
            "shape": list(values.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


@pytest.fixture(scope="module")
def done() -> Exported:
    rows, truth = load_iris(return_X_y=True)
    return export_model(LogisticRegression(max_iter=500).fit(rows, truth), rows, truth=truth)


# -- cards


def test_a_saved_model_opens_and_says_the_same(done: Exported, tmp_path: Path) -> None:
    rows, truth = load_iris(return_X_y=True)
    path = done.save(tmp_path / "iris.mlp")
    opened = IntegerModel.open(path)
    assert opened.file == done.model
    assert opened.card == done.card
    assert opened.card.report == done.report
    said = opened.predict(rows)
    assert sum(one == str(two) for one, two in zip(said, truth, strict=True)) >= 140
    with pytest.raises(InputError, match="not overwritten"):
        done.save(path)
    done.save(path, replace=True)


def test_a_card_of_another_model_is_refused(done: Exported) -> None:
    other = export_model(
        LogisticRegression(max_iter=500, C=0.1).fit(*load_iris(return_X_y=True)), load_iris().data
    )
    with pytest.raises(InputError, match="of another model"):
        read_card(done.card.encoded(), other.model)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", "omnitensor-model-card/2"),
        ("constants", [63]),
        ("constants", [64, 1]),
        ("offsets", [0.0]),
        ("scales", [1.0] * 5),
        ("scales", ["1"] * 4),
        ("names", ["one"]),
        ("rows", "contents"),
        ("rows", "pictures"),
        ("outputs", {"kind": "classes", "names": ["a"], "offsets": [0, 0, 0], "steps": [1, 1, 1]}),
        ("outputs", {"kind": "binary", "names": ["a", "b"], "offsets": [0, 0, 0], "steps": [1, 1, 1]}),
        ("outputs", {"kind": "values", "names": [], "offsets": [0, 0], "steps": [1, 1, 1]}),
        ("spare", 1),
    ],
)
def test_cards_that_do_not_fit_are_refused(done: Exported, field: str, value: Any) -> None:
    card = json.loads(done.card.encoded())
    card[field] = value
    with pytest.raises(InputError):
        read_card(json.dumps(card).encode(), done.model)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\xff\xfe", b"[" * 100_000, b" " * (limits.model_card_bytes_max + 1)]
)
def test_what_is_no_card_is_refused(done: Exported, data: bytes) -> None:
    with pytest.raises(InputError):
        read_card(data, done.model)


def test_rows_that_do_not_fit_a_card_are_refused(done: Exported) -> None:
    model = done.integer_model()
    with pytest.raises(InputError, match="another number of features"):
        model.encode([[1.0, 2.0]])
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(InputError, match="not finite"):
            model.encode([[1.0, 2.0, 3.0, wrong]])
    assert model.card.encode([1e308, -1e308, 1e308, 0.0])[:3] == bytes([63, 256 - 63, 63])
    with pytest.raises(InputError, match="another width"):
        model.run([bytes(3)])
    with pytest.raises(InputError, match="beyond 63"):
        model.run([bytes([64] * model.program.inputs)])


def test_a_feature_of_no_scale_is_zero_whatever_it_is(done: Exported) -> None:
    card = msgspec.structs.replace(done.card, offsets=(-1e308, 0.0, 0.0, 0.0), scales=(0.0, 1e308, 1.0, 1.0))
    assert card.encode([1e308, 1e308, 0.5, -0.5])[:4] == bytes([0, 63, 1, 0])


# -- safetensors

WEIGHTS = {
    "0.weight": np.arange(12, dtype=np.float32).reshape(3, 4) / 8,
    "0.bias": np.array([1, -2, 0.5], np.float32),
    "10.weight": np.array([[1, -1, 0.5], [0.25, 2, -3]], np.float32),
    "2.weight": np.eye(3, dtype=np.float32),
}


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
def test_weights_are_read_in_the_order_of_their_numbers(tmp_path: Path, dtype: str) -> None:
    """Values that all of these types hold exactly."""

    def stored(values: Any) -> Any:
        if dtype == "BF16":
            return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        return values.astype({"F64": np.float64, "F32": np.float32, "F16": np.float16}[dtype])

    path = tmp_path / "w.safetensors"
    path.write_bytes(safetensors({name: (dtype, stored(values)) for name, values in WEIGHTS.items()}))
    rows = np.array([[1, 2, 3, 4], [-4, 1, 0.5, -2]], np.float64)
    hidden = np.maximum(rows @ WEIGHTS["0.weight"].T + WEIGHTS["0.bias"], 0)
    wanted = hidden @ WEIGHTS["10.weight"].T  # the layer named 2 is an identity
    network = network_in(path, "classes")
    assert np.allclose(network.run(rows.tolist()), wanted)
    straight = network_in(path, "classes", activation="identity")
    plain = (rows @ WEIGHTS["0.weight"].T + WEIGHTS["0.bias"]) @ WEIGHTS["10.weight"].T
    assert np.allclose(straight.run(rows.tolist()), plain)


def entry(**changes: Any) -> bytes:
    fields = {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]} | changes
    text = json.dumps({"0.weight": fields}).encode()
    return len(text).to_bytes(8, "little") + text + bytes(4)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(7),
        (1 << 62).to_bytes(8, "little") + b"{}",
        (5).to_bytes(8, "little") + b"{]{]{",
        (2).to_bytes(8, "little") + b"[]",
        entry(data_offsets=[0, 8]),
        entry(data_offsets=[4, 0]),
        entry(data_offsets=[-4, 0]),
        entry(shape=[2, 1]),
        entry(shape=[-1, -1]),
        entry(shape=[1 << 40, 1 << 40]),
        entry(dtype="I4"),
        entry(shape="1"),
    ],
)
def test_what_is_no_safetensors_file_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        tensors_of(data)


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"bn.running_mean": np.zeros(3, np.float32)}, "neither weight nor bias"),
        ({"0.bias": np.zeros(3, np.float32)}, "no matrix"),
        ({"conv.weight": np.zeros((3, 1, 2), np.float32)}, "no matrix"),
        ({"0.weight": np.full((2, 2), np.nan, np.float32)}, "not finite"),
        (
            {"0.weight": np.zeros((2, 2), np.float32), "0.bias": np.zeros(3, np.float32)},
            "bias for each output",
        ),
        (
            {"0.weight": np.zeros((2, 2), np.float32), "1.weight": np.zeros((2, 3), np.float32)},
            "another width",
        ),
        ({}, "no layer"),
    ],
)
def test_tensors_that_are_no_network_are_refused(tmp_path: Path, tensors: dict[str, Any], says: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(safetensors({name: ("F32", values) for name, values in tensors.items()}))
    with pytest.raises(InputError, match=says):
        network_in(path, "classes")


class Trap:
    """Says so if a pickle is ever loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_never_loaded(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(Trap(), protocol))
    with pytest.raises(InputError, match="can run anything"):
        network_in(path, "classes")
    table = tmp_path / "rows.npy"
    np.save(table, np.array([Trap()], object), allow_pickle=True)
    with pytest.raises(InputError, match="none of numbers"):
        read_table(table)


# -- tables


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", ">f8", "i1", "i4", ">i2", "u1", "u8", "?"])
def test_tables_of_numpy_are_read(tmp_path: Path, kind: str) -> None:
    values = np.arange(24).reshape(4, 2, 3).astype(kind)
    np.save(tmp_path / "rows.npy", values)
    found = read_table(tmp_path / "rows.npy")
    assert found.rows == values.reshape(4, 6).astype(float).tolist()
    labelled = read_table(tmp_path / "rows.npy", "-1")
    assert labelled.labels == [str(int(row[-1])) for row in found.rows]
    assert labelled.rows == [row[:-1] for row in found.rows]


def test_broken_tables_of_numpy_are_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    np.save(out, np.arange(6.0).reshape(2, 3))
    good = out.getvalue()
    path = tmp_path / "rows.npy"
    broken = [good[:-1], good + b"\0", good[:20], good.replace(b"(2, 3)", b"(9, 3)"), good.replace(b"<f8", b"|O8"),
              good.replace(b"{'descr'", b"[['descr"), b"\x93NUMPY", b"\x93NUMPY\2\0" + struct.pack("<I", 1 << 31)]  # fmt: skip
    turned = io.BytesIO()
    np.save(turned, np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    for data in [*broken, turned.getvalue()]:
        path.write_bytes(data)
        with pytest.raises(InputError):
            read_table(path)


@pytest.mark.parametrize(
    ("text", "label", "names", "rows", "labels"),
    [
        ("1,2\n3,4\n", None, (), [[1, 2], [3, 4]], None),
        ("a,b\n1,2\n3,4\n", None, ("a", "b"), [[1, 2], [3, 4]], None),
        ("a,b,kind\n1,2,owl\n3,4,cat\n", "kind", ("a", "b"), [[1, 2], [3, 4]], ["owl", "cat"]),
        ("kind,a\nowl,2\n", "kind", ("a",), [[2]], ["owl"]),
        ("1,2,owl\n3,4,cat\n", "-1", (), [[1, 2], [3, 4]], ["owl", "cat"]),
        ("7,1,2\n8,3,4\n", "0", (), [[1, 2], [3, 4]], ["7", "8"]),
        ("0,1,2\n7,1,2\n", "0", ("1", "2"), [[1, 2]], ["7"]),
        ("0,1,digit\n5,6,7\n", "digit", ("0", "1"), [[5, 6]], ["7"]),
        ("\ufeffa,b\n1,2\n\n", None, ("a", "b"), [[1, 2]], None),
        ('"x, y",b\n1e-3,-2\n', None, ("x, y", "b"), [[0.001, -2]], None),
    ],
)  # fmt: skip
def test_tables_of_text_are_read(
    tmp_path: Path, text: str, label: str | None, names: tuple[str, ...], rows: Any, labels: Any
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text, encoding="utf-8")
    found = read_table(path, label)
    assert (found.names, found.rows, found.labels) == (names, rows, labels)


@pytest.mark.parametrize(
    ("data", "label", "says"),
    [
        (b"", None, "no rows"),
        (b"a,b\n", None, "no rows"),
        (b"1,2\n3\n", None, "another number of columns"),
        (b"1,2\n3,x\n", None, "no number"),
        (b"1,2\n", "kind", "no column of this name"),
        (b"1,2\n", "7", "no column at this place"),
        (b"\xff\xff", None, "neither CSV"),
        (b"1,\0\n" * 2, None, "no number"),
        (b",".join([b"1"] * 5000), None, "too wide"),
    ],
)
def test_broken_tables_of_text_are_refused(tmp_path: Path, data: bytes, label: str | None, says: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(data)
    with pytest.raises(InputError, match=says):
        read_table(path, label)


def test_rows_of_operands_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.bin"
    path.write_bytes(bytes(range(6)))
    assert read_rows(path, 3) == [b"\0\1\2", b"\3\4\5"]
    for width in (4, 7):
        with pytest.raises(InputError, match="whole number of rows"):
            read_rows(path, width)
    with pytest.raises(InputError, match="can't be read"):
        read_rows(tmp_path / "absent", 3)


def test_a_model_without_its_card_does_not_open(done: Exported, tmp_path: Path) -> None:
    path = done.save(tmp_path / "iris.mlp")
    card_path(path).unlink()
    with pytest.raises(InputError, match="can't be read"):
        IntegerModel.open(path)
    path.write_bytes(b"\0" + done.model.encoded())
    with pytest.raises(ProtocolError):
        IntegerModel.open(path)


# -- whatever bytes


def damaged(data: bytes, places: list[int], values: list[int]) -> bytes:
    out = bytearray(data)
    for place, value in zip(places, values, strict=False):
        out[place % len(out)] = value
    return bytes(out)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=6), st.lists(st.integers(0, 255), min_size=6, max_size=6))
def test_damaged_files_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, done: Exported, places: list[int], values: list[int]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    out = io.BytesIO()
    np.save(out, np.arange(12.0).reshape(3, 4))
    for name, data in (("rows.npy", out.getvalue()), ("rows.csv", b"a,b,c\n1,2.5,x\n3,4e2,y\n" * 4)):
        (folder / name).write_bytes(damaged(data, places, values))
        with contextlib.suppress(InputError):
            read_table(folder / name, "-1")
    with contextlib.suppress(InputError):
        tensors_of(
            damaged(safetensors({name: ("F32", value) for name, value in WEIGHTS.items()}), places, values)
        )
    with contextlib.suppress(InputError):
        read_card(damaged(done.card.encoded(), places, values), done.model)
