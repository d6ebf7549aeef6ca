"""Models of integers: made from scikit-learn's and PyTorch's, run to the bit as nodes run them, without numpy."""

from omnitensor.sdk.models.card import Card, Outputs, Prediction
from omnitensor.sdk.models.contents import operands_of
from omnitensor.sdk.models.export import Exported, export_model
from omnitensor.sdk.models.from_tensors import network_in
from omnitensor.sdk.models.network import FloatLayer, Network
from omnitensor.sdk.models.program import PlainProgram
from omnitensor.sdk.models.report import Report
from omnitensor.sdk.models.scoring import IntegerModel

__all__ = [
    "Card",
    "Exported",
    "FloatLayer",
    "IntegerModel",
    "Network",
    "Outputs",
    "PlainProgram",
    "Prediction",
    "Report",
    "export_model",
    "network_in",
    "operands_of",
]
