"""Data sets: exporting a campaign's accepted items with proofs, checking them offline, and loading them for training."""

from omnitensor.sdk.dataset.bundle import DatasetError, Manifest
from omnitensor.sdk.dataset.check import Checked, check
from omnitensor.sdk.dataset.gather import Exported, Exporter
from omnitensor.sdk.dataset.load import Dataset

__all__ = ["Checked", "Dataset", "DatasetError", "Exported", "Exporter", "Manifest", "check"]
