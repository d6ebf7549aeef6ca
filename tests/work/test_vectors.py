"""The vectors of the specification: what the oracle writes, what nodes compute, and what the SDK computes are the same."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from consensus.work.fingerprint import features, fingerprint, fingerprint_program
from consensus.work.programs import Program
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.models import read_model
from omnitensor.sdk import fingerprints
from omnitensor.sdk.models import PlainProgram, operands_of
from omnitensor.sdk.models.card import FORMAT, Card, Outputs
from tests.work import vectors

MODELS: dict[str, Any] = json.loads(vectors.MODELS.read_text(encoding="utf-8"))
FINGERPRINTS: dict[str, Any] = json.loads(vectors.FINGERPRINTS.read_text(encoding="utf-8"))


def name_of(case: dict[str, Any]) -> str:
    return str(case["name"])


def test_the_files_are_what_the_oracle_writes() -> None:
    for path, text in vectors.written().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python -m tests.work.vectors"


@pytest.mark.parametrize("case", MODELS["programs"], ids=name_of)
def test_programs(case: dict[str, Any]) -> None:
    data, rows = bytes.fromhex(case["file"]), bytes.fromhex(case["rows"])
    file = read_model(data)
    assert file.encoded() == data
    assert file.root.hex() == case["root"]
    width = file.layers[0].inputs
    given = np.frombuffer(rows, np.int8).reshape(-1, width)
    assert Program.read(data).run(given).tobytes().hex() == case["outputs"]
    plain = PlainProgram(file).run(rows[at : at + width] for at in range(0, len(rows), width))
    assert b"".join(plain).hex() == case["outputs"]


@pytest.mark.parametrize("case", MODELS["refused"], ids=name_of)
def test_files_that_are_no_models(case: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        read_model(bytes.fromhex(case["file"]))


def test_encodings() -> None:
    for case in MODELS["encodings"]:
        card = Card(
            FORMAT,
            "",
            "features",
            (),
            (case["offset"],),
            (case["scale"],),
            (63, 1),
            Outputs("values", (), (), ()),
        )
        assert card.encode([case["x"]]) == bytes([case["operand"] & 255, 63, 1]), case


@pytest.mark.parametrize("case", FINGERPRINTS["contents"], ids=name_of)
def test_fingerprints(case: dict[str, Any]) -> None:
    if "content" in case:
        content = bytes.fromhex(case["content"])
    else:
        content = bytes.fromhex(case["begins"]) + b" " * int(case["spaces"]) + bytes.fromhex(case["ends"])
    operands = features(content)
    assert operands.tobytes().hex() == case["operands"]
    assert operands.tolist() == operands_of(content)
    program = fingerprint_program()
    assert program.run(operands[None, :]).tobytes().hex() == case["outputs"]
    (plain,) = PlainProgram(program.file).run([operands.tobytes()])
    assert plain.hex() == case["outputs"]
    assert fingerprint(content).hex() == case["fingerprint"]
    assert fingerprints.fingerprint(content).hex() == case["fingerprint"]
