"""Exporting scikit-learn's models into integers: what is lost, that nodes compute the same bits, and what is refused."""

from __future__ import annotations

import contextlib
import random
import re
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, make_multilabel_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, QuantileTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from consensus.work.fingerprint import content_rows, features
from consensus.work.programs import Program
from omnitensor.protocol.models import OPERAND_MAX
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.models import Exported, FloatLayer, Network, export_model, operands_of
from omnitensor.sdk.models.network import Kind
from omnitensor.sdk.models.program import PlainLayer, PlainProgram
from omnitensor.sdk.models.quantise import LANES_MAX, Chosen, Meaning, _assembled, _filed, _on_constants
from tests.work.plain_work import product, requantised


def fitted(model: Any, data: tuple[Any, Any], many: int = 700) -> tuple[Any, Any, Any, Any]:
    """The model, fitted on a part; the rows of that part, and rows with answers that it has not seen."""
    rows, truth = data[0][:many], data[1][:many]
    seen, held_out, known, answers = train_test_split(rows, truth, test_size=0.3, random_state=0)
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")  # a hundred rounds need not be enough for the last digit
        model.fit(seen, known)
    return model, seen, held_out, answers


def nodes_outputs(done: Exported, rows: Any) -> bytes:
    encoded = done.integer_model().encode(rows)
    table = np.frombuffer(b"".join(encoded), np.int8).reshape(len(encoded), -1)
    return Program.of(done.model).run(table).tobytes()


def test_digits_lose_less_than_a_point() -> None:
    model = MLPClassifier((48,), max_iter=120, random_state=0)
    model, seen, held_out, answers = fitted(model, load_digits(return_X_y=True), many=1797)
    done = export_model(model, seen, held_out=held_out, truth=answers)
    report = done.report
    assert report.rows == len(answers) == 540
    assert report.float_score == pytest.approx(model.score(held_out, answers))
    assert report.float_score is not None
    assert report.float_score > 0.95
    assert report.loss_points is not None
    assert report.loss_points <= 1.0
    assert report.agreement > 0.98
    right = [
        found == str(answer)
        for found, answer in zip(done.integer_model().predict(held_out), answers, strict=True)
    ]
    assert report.integer_score == sum(right) / len(right)
    assert nodes_outputs(done, held_out) == b"".join(
        done.integer_model().run(done.integer_model().encode(held_out))
    )


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)), load_digits(return_X_y=True)),
        (make_pipeline(MinMaxScaler(), MLPClassifier((20, 12), max_iter=150, random_state=1)), load_digits(return_X_y=True)),
        (make_pipeline(StandardScaler(), LogisticRegression()), load_breast_cancer(return_X_y=True)),
        (make_pipeline(MaxAbsScaler(), StandardScaler(with_mean=False), SGDClassifier(random_state=0)),
         load_breast_cancer(return_X_y=True)),
        (make_pipeline(StandardScaler(), "passthrough", RidgeClassifier()), load_digits(return_X_y=True)),
        (make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=300, random_state=0)),
         load_breast_cancer(return_X_y=True)),
        (MLPClassifier((16,), activation="identity", max_iter=100, random_state=0), load_digits(return_X_y=True)),
        (MLPClassifier((24,), max_iter=400, random_state=0),
         make_multilabel_classification(700, 20, n_classes=3, n_labels=1, random_state=0)),
    ],
    ids=["logistic", "two-hidden", "binary-logistic", "binary-sgd", "ridge", "binary-mlp", "identity", "labels"],
)  # fmt: skip
def test_classifiers_keep_their_answers(model: Any, data: tuple[Any, Any]) -> None:
    model, seen, held_out, answers = fitted(model, data)
    done = export_model(model, seen, held_out=held_out, truth=answers)
    assert done.report.float_score == pytest.approx(model.score(held_out, answers))
    assert done.report.agreement >= 0.93
    assert done.report.loss_points is not None
    assert done.report.loss_points <= 2.0
    assert nodes_outputs(done, held_out) == b"".join(
        done.integer_model().run(done.integer_model().encode(held_out))
    )


@pytest.mark.parametrize(
    "model",
    [
        Ridge(0.1),
        LinearRegression(),
        make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(24,), max_iter=800, random_state=0)),
    ],
    ids=["ridge", "linear", "mlp"],
)
@pytest.mark.parametrize("columns", [1, 2])
def test_regressors_keep_their_numbers(model: Any, columns: int) -> None:
    rows, truth = load_diabetes(return_X_y=True)
    if columns == 2:
        truth = np.stack([truth, rows[:, 2] * 1000 - truth], axis=1)
    model, seen, held_out, answers = fitted(model, (rows, truth))
    done = export_model(model, seen, held_out=held_out, truth=answers)
    assert done.report.measure == "r2"
    assert done.report.float_score == pytest.approx(model.score(held_out, answers))
    assert done.report.agreement > 0.99
    assert done.report.loss_points is not None
    assert done.report.loss_points < 2.0
    numbers = done.integer_model().predict(held_out)
    assert np.allclose(
        np.asarray(numbers), model.predict(held_out).reshape(-1, columns), atol=0.05 * float(np.ptp(truth))
    )


def test_a_column_that_never_changes_says_nothing() -> None:
    rows, truth = load_digits(return_X_y=True)
    model = LogisticRegression(max_iter=50)
    model, seen, held_out, _ = fitted(model, (rows, truth))
    done = export_model(model, seen)
    blank = next(at for at in range(64) if not seen[:, at].any())
    changed = held_out.copy()
    changed[:, blank] = 1e6
    assert done.integer_model().encode(changed) == done.integer_model().encode(held_out)


def test_a_model_for_contents_takes_their_operands() -> None:
    chance = random.Random(5)
    words = {
        True: b"owl feather beak night wing talon prey",
        False: b"loan credit bank money cheap offer click",
    }
    kinds = [chance.random() < 0.5 for _ in range(160)]
    texts = [b" ".join(chance.choices(words[kind].split(), k=40)) for kind in kinds]
    rows = [operands_of(text) for text in texts]
    model = MLPClassifier((6,), max_iter=200, random_state=0).fit(rows[:120], kinds[:120])
    done = export_model(model, rows[:120], held_out=rows[120:], truth=kinds[120:], encoding="contents")
    assert done.report.integer_score is not None
    assert done.report.integer_score > 0.95
    encoded = done.integer_model().encode_contents(texts)
    table = np.stack([features(text) for text in texts])
    assert b"".join(encoded) == content_rows(table, done.model.layers[0].inputs).tobytes()
    said = done.integer_model().predict_contents(texts[120:])
    assert sum(one == str(two) for one, two in zip(said, kinds[120:], strict=True)) >= 38
    with pytest.raises(InputError, match="contents"):
        done.integer_model().encode(rows)


def test_a_table_names_its_features_and_a_search_its_best(tmp_path: Path) -> None:
    rows, truth = load_breast_cancer(return_X_y=True, as_frame=True)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [0.1, 1]}, cv=2
    )
    search.fit(rows, truth)
    done = export_model(search, rows, truth=truth)
    assert done.card.names == tuple(rows.columns)
    assert done.report.float_score == pytest.approx(search.score(rows, truth))
    assert done.report.agreement > 0.97


def test_networks_of_odd_numbers_are_exported_or_refused() -> None:
    """Ranges of nothing, one row, huge and tiny weights: a file, or an error that says why."""
    chance, exported = random.Random(2), 0
    for turn in range(120):
        sizes = [chance.randint(1, 4) for _ in range(chance.randint(2, 4))]
        unit = chance.choice((0.0, 1e-320, 1e-99, 1e-9, 1.0, 1e9, 1e99))
        layers = [
            FloatLayer(
                [
                    [chance.choice((0.0, unit, -unit, chance.gauss(0, 1))) for _ in range(two)]
                    for _ in range(one)
                ],
                [chance.choice((0.0, unit, -1e3, chance.gauss(0, 1))) for _ in range(two)],
                chance.random() < 0.5,
            )
            for one, two in pairwise(sizes)
        ]
        rows = [
            [chance.choice((0.0, unit, -unit, 1.0, chance.gauss(0, 1))) for _ in range(sizes[0])]
            for _ in range(1 + turn % 5)
        ]
        kind: Kind = chance.choice(("labels", "values"))
        network = Network(tuple(layers), kind, tuple("abcd"[: sizes[-1]]) if kind == "labels" else ())
        with contextlib.suppress(InputError):
            done = export_model(network, rows)
            encoded = done.integer_model().encode(rows)
            assert nodes_outputs(done, rows) == b"".join(done.integer_model().run(encoded))
            exported += 1
    assert exported > 60


# -- what is exact


@settings(max_examples=60)
@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 24), st.booleans(), st.integers(0, 999))
def test_packed_layers_are_plain_ones(inputs: int, outputs: int, shift: int, relu: bool, seed: int) -> None:
    chance = random.Random(seed)
    weights = [[chance.randint(-63, 63) for _ in range(outputs)] for _ in range(inputs)]
    rows = [[chance.choice((-63, 63, chance.randint(-63, 63))) for _ in range(inputs)] for _ in range(4)]
    layer = PlainLayer(weights, relu, shift)
    wanted = product(rows, weights)
    assert [layer.sums(row) for row in rows] == wanted
    assert [layer.run(row) for row in rows] == [
        [requantised(value, shift, relu) for value in row] for row in wanted
    ]


def test_the_largest_sums_stay_in_their_fields() -> None:
    layer = PlainLayer([[63, -63, 63]] * 4096, False, 18)
    most = 63 * 63 * 4096
    assert layer.sums([63] * 4096) == [most, -most, most]
    assert layer.sums([-63] * 4096) == [-most, most, -most]


@given(st.integers(1, LANES_MAX), st.integers(-(10**6), 10**6))
def test_weights_on_constants_are_the_bias(lanes: int, value: int) -> None:
    most = lanes * OPERAND_MAX**2 + OPERAND_MAX
    value = max(-most, min(most, value))
    weights = _on_constants(value, lanes)
    assert len(weights) == lanes + 1
    assert max(map(abs, weights)) <= OPERAND_MAX
    assert sum(weights[:-1]) * OPERAND_MAX + weights[-1] == value


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=5), st.integers(0, 9999))
def test_constants_do_the_work_of_biases(widths: list[int], seed: int) -> None:
    """A file of several layers against the same layers with biases apart, by the oracle's arithmetic."""
    chance = random.Random(seed)
    layers = []
    for inputs, outputs in pairwise(widths):
        weights = [[chance.randint(-63, 63) for _ in range(outputs)] for _ in range(inputs)]
        most = chance.choice((0, 3, 60, 4_000, 65 * 63 * 63))
        biases = [chance.randint(-most, most) for _ in range(outputs)]
        blank = Meaning([0.0] * outputs, [1.0] * outputs)
        layers.append(Chosen(weights, biases, chance.random() < 0.5, chance.randint(1, 12), blank))
    records, constants = _assembled(layers, widths[0])
    program = PlainProgram(_filed(records, None))
    rows = [[chance.randint(-63, 63) for _ in range(widths[0])] for _ in range(5)]
    wanted = rows
    for layer in layers:
        wanted = [
            [
                requantised(value + bias, layer.shift, layer.relu)
                for value, bias in zip(row, layer.biases, strict=True)
            ]
            for row in product(wanted, layer.weights)
        ]
    found = program.run(bytes(value & 255 for value in [*row, *constants]) for row in rows)
    assert [memoryview(row).cast("b").tolist() for row in found] == wanted


def test_tiles_are_wide_where_they_fill_little_with_zeros() -> None:
    def layer(inputs: int, outputs: int) -> FloatLayer:
        chance = random.Random(0)
        weights = [[chance.uniform(-1, 1) for _ in range(outputs)] for _ in range(inputs)]
        return FloatLayer(weights, [0.0] * outputs, relu=False)

    rows = [[random.Random(seed).uniform(-1, 1) for _ in range(128)] for seed in range(20)]
    wide = export_model(Network((layer(128, 64),), "values", ()), rows)
    assert wide.model.tile == 64 or wide.model.layers[0].inputs > 128
    small = export_model(Network((layer(128, 3),), "values", ()), rows)
    assert small.model.tile == 16
    assert export_model(Network((layer(128, 3),), "values", ()), rows, tile=128).model.tile == 128


# -- what is refused

DIGITS = load_digits(return_X_y=True)[0][:60], load_digits(return_X_y=True)[1][:60]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (MLPClassifier((4,), activation="tanh", max_iter=2), "activation"),
        (make_pipeline(MinMaxScaler(clip=True), LogisticRegression(max_iter=5)), "clips"),
        (make_pipeline(QuantileTransformer(n_quantiles=10), LogisticRegression(max_iter=5)), "step of the pipeline"),
        (RandomForestClassifier(2), "this kind of model"),
        (PoissonRegressor(max_iter=5), "this kind of model"),
        (MLPClassifier((2,) * 9, max_iter=2), "too many layers"),
    ],
    ids=["tanh", "clip", "quantiles", "forest", "poisson", "deep"],
)  # fmt: skip
def test_models_that_do_not_fit_are_refused(model: Any, says: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(*DIGITS)
    with pytest.raises(InputError, match=says):
        export_model(model, DIGITS[0])


@pytest.mark.filterwarnings("ignore:lbfgs failed")
def test_what_is_no_fitted_model_is_refused() -> None:
    with pytest.raises(InputError, match="not fitted"):
        export_model(LogisticRegression(), DIGITS[0])
    with pytest.raises(InputError, match="no model of"):
        export_model({"weights": [1]}, DIGITS[0])
    model = LogisticRegression(max_iter=5).fit(*DIGITS)
    with pytest.raises(InputError, match="another number of features"):
        export_model(model, DIGITS[0][:, :10])
    with pytest.raises(InputError, match="not finite"):
        export_model(model, np.full((3, 64), np.nan))
    with pytest.raises(InputError, match="no rows"):
        export_model(model, [])
    with pytest.raises(InputError, match="one truth for each"):
        export_model(model, DIGITS[0], truth=[1, 2])
    with pytest.raises(InputError, match="operands of a content"):
        export_model(model, DIGITS[0] + 0.5, encoding="contents")


class Doubled(LogisticRegression):
    """A model that says something else than its coefficients."""

    def predict(self, rows: Any) -> Any:
        return (super().predict(rows) + 1) % 10


@pytest.mark.filterwarnings("ignore:lbfgs failed")
def test_a_model_that_says_something_else_than_its_weights_is_refused() -> None:
    model = Doubled(max_iter=5).fit(*DIGITS)
    with pytest.raises(InputError, match="does not say what the model says"):
        export_model(model, DIGITS[0])


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_the_guides_snippets_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    guide = Path(__file__).resolve().parents[2] / "docs" / "guides" / "models.md"
    snippets = re.findall(r"```python\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
    assert len(snippets) == 2
    with threadpool_limits(1):
        for snippet in snippets:
            exec(snippet, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "digits.mlp",
        "digits.mlp.json",
        "spam.mlp",
        "spam.mlp.json",
    ]
