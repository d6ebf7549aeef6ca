"""Networks from scikit-learn's estimators: perceptrons and linear models, also behind scalers in a pipeline.

Looks at attributes and names of classes; scikit-learn itself is not imported.
"""

from __future__ import annotations

from typing import Any, Final

from omnitensor.sdk.errors import InputError
from omnitensor.sdk.models.arrays import listed, matrix, turned, vector
from omnitensor.sdk.models.network import Kind, Network, Stack

_TAKEN: Final = (
    "MLPClassifier and MLPRegressor with relu or identity, linear classifiers and regressors, and pipelines of these behind"
    " StandardScaler, MinMaxScaler or MaxAbsScaler"
)
_LINEAR_CLASSIFIERS: Final = {"LinearClassifierMixin"}
_LINEAR_REGRESSORS: Final = {"LinearModel", "BaseSGDRegressor"}


def is_sklearn(model: Any) -> bool:
    """Whether a class of scikit-learn is among the model's."""
    return any(kind.__module__.partition(".")[0] == "sklearn" for kind in type(model).__mro__)


def network_of(model: Any) -> Network:
    """The network of a fitted estimator or pipeline. Raises InputError where it is none that a model file can hold."""
    stack = Stack()
    *before, last = _steps(model)
    for step in before:
        _transformer(stack, step)
    names = {kind.__name__ for kind in type(last).__mro__}
    if hasattr(last, "coefs_") and hasattr(last, "activation"):
        return _perceptron(stack, last)
    if hasattr(last, "coef_") and names & (_LINEAR_CLASSIFIERS | _LINEAR_REGRESSORS):
        return _linear(stack, last)
    if not any(name.endswith("_") and not name.endswith("__") for name in vars(last)):
        raise InputError(
            "the model is not fitted yet", value=type(last).__name__, remedy="call its fit() first"
        )
    raise InputError(
        "this kind of model can't be exported", value=type(last).__name__, remedy=f"taken are {_TAKEN}"
    )


def _steps(model: Any) -> list[Any]:
    if hasattr(model, "best_estimator_"):  # the best one of a search
        return _steps(model.best_estimator_)
    if not hasattr(model, "steps"):
        return [model]
    return [
        inner
        for _, step in model.steps
        if step is not None and not isinstance(step, str)
        for inner in _steps(step)
    ]


def _transformer(stack: Stack, step: Any) -> None:
    """A scaler: ``x * scale + offset`` a column."""
    name = type(step).__name__
    if not hasattr(step, "scale_") or name not in ("StandardScaler", "MinMaxScaler", "MaxAbsScaler"):
        raise InputError("a step of the pipeline can't be exported", value=name, remedy=f"taken are {_TAKEN}")
    if getattr(step, "clip", False):
        raise InputError(f"{name} clips, which is no factor", remedy="fit it with clip=False")
    columns = int(step.n_features_in_)
    if name == "MinMaxScaler":
        stack.columns(vector(step.scale_, name), vector(step.min_, name), name)
        return
    scale = [1.0] * columns if step.scale_ is None else [1 / factor for factor in vector(step.scale_, name)]
    centred = name == "StandardScaler" and step.with_mean
    means = vector(step.mean_, name) if centred else [0.0] * columns
    stack.columns(scale, [-mean * factor for mean, factor in zip(means, scale, strict=True)], name)


def _perceptron(stack: Stack, model: Any) -> Network:
    if model.activation not in ("relu", "identity"):
        raise InputError(
            "the activation can't be exported", value=model.activation, remedy="fit it with relu or identity"
        )
    last = len(model.coefs_) - 1
    for number, (weights, biases) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        name = f"layer {number}"
        stack.linear(matrix(weights, name), vector(biases, name), name)
        if number < last and model.activation == "relu":
            stack.relu(name)
    if not hasattr(model, "classes_"):
        return stack.network("values", ())
    names = _names(model.classes_)
    if model.out_activation_ == "softmax":
        return stack.network("classes", names)
    outputs = len(listed(model.intercepts_[-1]))
    return stack.network("binary" if outputs == 1 and len(names) == 2 else "labels", names)


def _linear(stack: Stack, model: Any) -> Network:
    found = listed(model.coef_)
    rows = matrix(found if isinstance(found[0], list) else [found], "the coefficients")
    intercepts = vector(model.intercept_, "the intercepts")
    if len(intercepts) == 1 < len(rows):
        intercepts *= len(rows)
    stack.linear(turned(rows), intercepts, "the linear layer")
    if not hasattr(model, "classes_"):
        return stack.network("values", ())
    names = _names(model.classes_)
    kind: Kind = "classes" if len(rows) > 1 else "binary"
    return stack.network(kind, names)


def _names(classes: Any) -> list[str]:
    return [str(name) for name in listed(classes)]
