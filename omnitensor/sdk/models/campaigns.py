"""A model's file as what a campaign names: its content, its root, and its shape. Asks no node."""

from __future__ import annotations

from pathlib import Path

from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.limits import model_bytes_max
from omnitensor.protocol.models import read_model
from omnitensor.protocol.work import CampaignModel, LayerShape
from omnitensor.sdk.content import file_content
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.models.files import read_bounded


def campaign_model(path: Path) -> CampaignModel:
    """The record of a model that scores a campaign's items. Raises InputError where the file is none, or of another width."""
    data = read_bounded(path, model_bytes_max)
    try:
        file = read_model(data)
    except ProtocolError as error:
        raise InputError(
            f"the model can't be read: {error.reason}", value=path, remedy="make it with model export"
        ) from error
    layers = tuple(LayerShape(layer.inputs, layer.outputs) for layer in file.layers)
    model = CampaignModel(file_content(path), file.root, layers, file.tile)
    if fault := model.fault():
        raise InputError(
            f"the model does not score contents: {fault}",
            value=path,
            remedy="export it with --of-contents, from rows of operands of contents",
        )
    return model
