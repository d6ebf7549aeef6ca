"""Exact arithmetic and programs against plain integers, by float32 and by the fallback."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.work import exact, prover
from consensus.work.noise import noisy_layer
from consensus.work.programs import Program, tiles_of
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.models import LayerRecord, ModelError, ModelFile, checked, read_model
from tests.work.plain_work import product
from tests.work.samples import ANCHOR, model_of, plain_layers, plain_rows, rows_of, run_unit, unit_of


def test_float32_is_exact_on_this_machine() -> None:
    assert exact.float32_is_exact()


def test_a_library_that_is_not_exact_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    real = np.matmul
    exact.float32_is_exact.cache_clear()
    original = exact._known

    def rounded(count: int, state: int, largest: bool) -> tuple[np.ndarray, int]:  # type: ignore[type-arg]
        values, state = original(count, state, largest)
        return (values * 4_099 if largest else values), state  # sums that float32 has not

    monkeypatch.setattr(exact, "_known", rounded)
    assert not exact.float32_is_exact()
    monkeypatch.undo()
    exact.float32_is_exact.cache_clear()
    assert np.matmul is real
    assert exact.float32_is_exact()


@pytest.mark.parametrize("float32", [True, False])
@given(
    st.integers(1, 5), st.sampled_from([1, 3, 16, 1040, 1041, 2500]), st.integers(1, 5), st.integers(0, 99)
)
def test_products_are_exact(float32: bool, rows: int, inner: int, columns: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    one = chance.integers(-127, 128, (rows, inner)).astype(np.int8)
    two = chance.integers(-127, 128, (inner, columns)).astype(np.int8)
    if seed % 3 == 0:
        one[:], two[:] = 127, -127
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "float32_is_exact", lambda: float32)
        assert plain_rows(exact.product(one, two)) == product(plain_rows(one), plain_rows(two))  # type: ignore[arg-type]


@given(st.integers(1, 24), st.integers(0, 1), st.integers(0, 10**6))
def test_requantisation_rounds_half_up_and_clips(shift: int, activation: int, seed: int) -> None:
    layer = LayerRecord(2, 3, activation, shift, bytes([63, 193, 1, 62, 5, 255]))
    program = Program.of(checked(ModelFile(1, 16, (layer,))))
    rows = rows_of(4, 2, seed)
    rows[0] = 63
    rows[1] = -63
    assert plain_rows(program.run(rows)) == plain_layers(program.file)[0].run(plain_rows(rows))


@pytest.mark.parametrize("widths", [(5, 3), (40, 17, 9), (1100, 20)])
def test_programs_agree_with_plain_integers(widths: tuple[int, ...]) -> None:
    model = model_of(widths, 16)
    rows = rows_of(7, widths[0])
    wanted = plain_rows(rows)
    for layer in plain_layers(model):
        wanted = layer.run(wanted)
    assert plain_rows(Program.of(model).run(rows)) == wanted


def test_a_row_does_not_depend_on_the_others() -> None:
    program = Program.of(model_of((33, 20, 8), 16))
    rows = rows_of(50, 33)
    whole = program.run(rows)
    for at in (0, 7, 49):
        assert (program.run(rows[at : at + 1])[0] == whole[at]).all()


def test_a_model_reads_back_and_every_byte_is_bound() -> None:
    model = model_of((20, 7), 16)
    data = model.encoded()
    assert read_model(data) == model
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            other = read_model(changed)
        except ProtocolError:
            continue
        assert other.root != model.root


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ((LayerRecord(4, 2, 0, 8, bytes(8)), LayerRecord(3, 2, 0, 8, bytes(6))), "another width"),
        ((LayerRecord(4, 2, 0, 8, bytes(7)),), "another number of weights"),
        ((LayerRecord(1, 2, 0, 8, bytes([0, 64])),), "beyond 63"),
        ((LayerRecord(1, 2, 0, 8, bytes([192, 0])),), "beyond 63"),
    ],
)
def test_models_that_do_not_fit_are_refused(layers: tuple[LayerRecord, ...], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        checked(ModelFile(1, 16, layers))


def test_a_tile_of_another_width_is_refused() -> None:
    with pytest.raises(ModelError, match="tile"):
        checked(ModelFile(1, 48, model_of((4, 4), 16).layers))


def test_squares_are_counted_with_their_padding() -> None:
    assert tiles_of(Program.of(model_of((17, 33), 16)), 16) == 1 * 2 * 3
    assert tiles_of(Program.of(model_of((16, 16, 16), 16)), 33) == 3 + 3


@pytest.mark.parametrize("widths", [(40, 33, 17), (1100, 20)])
def test_rows_in_blocks_are_as_rows_at_once(widths: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows a prover takes at a time: outputs and every square's word stay the same."""
    unit = unit_of(Program.of(model_of(widths, 16)), rows_of(75, widths[0]), bits=0)
    layer = noisy_layer(unit.program, 0, unit.beacon)
    turned = np.zeros((layer.k, 80), np.float32)
    turned[: widths[0], :75] = unit.rows.T
    whole, (sums, words) = run_unit(unit), prover.noisy_product(turned, layer, ANCHOR)
    monkeypatch.setattr(prover, "BLOCK_ROWS", 32)
    monkeypatch.setattr(prover, "TURNED_ROWS", 7)
    parts, (sums_of_parts, words_of_parts) = run_unit(unit), prover.noisy_product(turned, layer, ANCHOR)
    assert (whole.outputs == parts.outputs).all()
    assert (parts.outputs == unit.program.run(unit.rows)).all()
    assert whole.won == parts.won
    assert (sums == sums_of_parts).all()
    assert (words == words_of_parts).all()
