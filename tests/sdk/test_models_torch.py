"""Exporting PyTorch's networks: the real ones where PyTorch is installed, and their attributes by themselves in any case."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from consensus.work.programs import Program
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.models import export_model, from_torch
from omnitensor.sdk.models.export import export_network
from omnitensor.sdk.models.network import Kind

# -- modules as PyTorch has them: the attributes that are looked at, in numpy


class Module:
    """What all have."""

    training = False
    __module__ = "torch.nn.modules.module"


class Linear(Module):
    def __init__(self, weight: Any, bias: Any) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, rows: Any) -> Any:
        return rows @ self.weight.T + (0 if self.bias is None else self.bias)


class ReLU(Module):
    def __call__(self, rows: Any) -> Any:
        return np.maximum(rows, 0)


class BatchNorm1d(Module):
    eps = 1e-5

    def __init__(self, mean: Any, var: Any, weight: Any, bias: Any) -> None:
        self.running_mean, self.running_var, self.weight, self.bias = mean, var, weight, bias

    def __call__(self, rows: Any) -> Any:
        found = (rows - self.running_mean) / np.sqrt(self.running_var + self.eps)
        return found if self.weight is None else found * self.weight + self.bias


class Dropout(Module):
    def __call__(self, rows: Any) -> Any:
        return rows


class Softmax(Dropout):
    """Keeps the order of outputs; here it does nothing."""


class Tanh(Dropout):
    """Taken by nobody here."""


class Sequential(Module, list):  # type: ignore[type-arg]  # of modules
    def __call__(self, rows: Any) -> Any:
        for module in self:
            rows = module(rows)
        return rows


def network(seed: int = 0) -> Sequential:
    chance = np.random.default_rng(seed)

    def linear(inputs: int, outputs: int, biased: bool = True) -> Linear:
        bias = chance.normal(size=outputs) if biased else None
        return Linear(chance.normal(size=(outputs, inputs)) / inputs**0.5, bias)

    def norm(width: int, own: bool) -> BatchNorm1d:
        weight, bias = (chance.uniform(0.5, 2, width), chance.normal(size=width)) if own else (None, None)
        return BatchNorm1d(chance.normal(size=width), chance.uniform(0.5, 2, width), weight, bias)

    return Sequential(
        [norm(6, True), linear(6, 12), norm(12, True), ReLU(), Dropout(),
         Sequential([norm(12, False), linear(12, 8, biased=False), ReLU()]), norm(8, True), linear(8, 4), Softmax()]
    )  # fmt: skip


def test_normalisations_are_folded_where_they_stand() -> None:
    model, rows = network(), np.random.default_rng(1).normal(size=(40, 6))
    found = from_torch.network_of(model, "classes")
    assert [layer.relu for layer in found.layers] == [True, True, False]
    assert np.allclose(np.asarray(found.run(rows.tolist())), model(rows))


def test_a_network_of_modules_is_exported() -> None:
    model, rows = network(), np.random.default_rng(2).normal(size=(400, 6))
    found = from_torch.network_of(model, "classes", ("a", "b", "c", "d"))
    done = export_network(found, rows.tolist())
    assert done.report.agreement > 0.95
    assert set(done.integer_model().predict(rows.tolist())) <= set("abcd")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda model: model.insert(3, Tanh()), "can't be exported"),
        (lambda model: model.insert(1, Softmax()), "can't be exported"),
        (lambda model: setattr(model[4], "training", True), "training mode"),
        (lambda model: setattr(model[0], "training", True), "training mode"),
        (lambda model: setattr(model[0], "running_mean", None), "no statistics"),
        (lambda model: model.insert(0, ReLU()), "before any layer"),
        (lambda model: model.__delitem__(1), "another width"),
        (lambda model: model.clear(), "no layer"),
        (lambda model: model.append(Softmax()), "can't be exported"),
    ],
)
def test_networks_that_do_not_fit_are_refused(change: Any, says: str) -> None:
    model = network()
    change(model)
    with pytest.raises(InputError, match=says):
        from_torch.network_of(model, "classes")


@pytest.mark.parametrize(("kind", "names"), [("binary", ()), ("classes", ("a", "b"))])
def test_kinds_and_names_must_fit(kind: Kind, names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"not of the kind|name for each"):
        from_torch.network_of(network(), kind, names)


def test_what_outputs_mean_has_to_be_said() -> None:
    with pytest.raises(InputError, match="has to be said"):
        export_model(network(), np.zeros((4, 6)))
    with pytest.raises(InputError, match="no such kind"):
        export_model(network(), np.zeros((4, 6)), kind="colours")  # type: ignore[arg-type]  # a user's slip


# -- PyTorch itself


def test_a_trained_network_of_pytorch_loses_less_than_a_point_on_digits() -> None:
    """PyTorch is large and no dependency: this runs where somebody has it."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rows, truth = load_digits(return_X_y=True)
    x, y = torch.tensor(rows, dtype=torch.float32), torch.tensor(truth)
    nn = torch.nn
    model = nn.Sequential(
        nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Dropout(0.1),
        nn.Linear(48, 10),
    )  # fmt: skip
    steps = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        steps.zero_grad()
        nn.functional.cross_entropy(model(x[:1200]), y[:1200]).backward()
        steps.step()
    with pytest.raises(InputError, match="training mode"):
        export_model(model, rows[:1200], kind="classes")
    model.eval()
    done = export_model(model, x[:1200], held_out=x[1200:], truth=truth[1200:], kind="classes")
    with torch.no_grad():
        right = (model(x[1200:]).argmax(1) == y[1200:]).double().mean().item()
    assert done.report.float_score == pytest.approx(right)
    assert right > 0.9
    assert done.report.loss_points is not None
    assert done.report.loss_points <= 1.0
    encoded = done.integer_model().encode(rows[1200:])
    table = np.frombuffer(b"".join(encoded), np.int8).reshape(len(encoded), -1)
    assert Program.of(done.model).run(table).tobytes() == b"".join(done.integer_model().run(encoded))


def test_the_sdk_imports_no_numerical_library() -> None:
    script = "import sys, omnitensor.sdk.models; print([n for n in ('numpy', 'torch', 'sklearn') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
