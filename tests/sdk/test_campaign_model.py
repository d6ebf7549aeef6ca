"""A campaign with a model of its own: exported, uploaded with the campaign, named by it, and kept by nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest

from omnitensor.protocol.content import content_id_of
from omnitensor.protocol.limits import score_outputs_max
from omnitensor.protocol.models import read_model
from omnitensor.sdk import Client, InputError, Wallet
from omnitensor.sdk.models import FloatLayer, Network, export_model, operands_of
from omnitensor.sdk.models.campaigns import campaign_model
from omnitensor.sdk.spec_checks import SpecError
from omnitensor.sdk.specs import draft_from, draft_from_toml
from tests.cli.people import Person
from tests.sdk.small_chain import SmallChain
from tests.sdk.test_sdk_story import open_campaign

pytestmark = pytest.mark.xdist_group("campaign-model")

DRAFT = {"title": "Birds", "unit_price": "2", "review_fee": "0.5", "budget": "100"}


def model_in(folder: Path, outputs: int = 2, contents: bool = True) -> Path:
    """A model with a bias, of contents or of four numbers."""
    inputs = 1024 if contents else 4
    weights = [[((at * 7 + column) % 13 - 6) / 600 for column in range(outputs)] for at in range(inputs)]
    network = Network((FloatLayer(weights, [0.1] * outputs, relu=False),), "values", ())
    rows = [operands_of(f"a text about owls, number {at * at}".encode())[:inputs] for at in range(20)]
    done = export_model(network, rows, encoding="contents" if contents else "features")
    return done.save(folder / "spam.mlp", replace=True)


def test_it_is_uploaded_with_the_campaign_and_named_by_it(
    chain: SmallChain, wallet: Callable[[str], Wallet], home: Path, tmp_path: Path
) -> None:
    path = model_in(tmp_path)
    file = read_model(path.read_bytes())
    number = open_campaign(chain, wallet("sponsor"), home, model_file=str(path))
    with Client(chain.endpoint) as client:
        model = client.campaign(number).spec.model
        assert model is not None
        assert model.root == file.root.hex()
        assert model.content.content_id() == content_id_of(path.read_bytes())
        assert [(each["inputs"], each["outputs"]) for each in model.layers] == [
            (layer.inputs, layer.outputs) for layer in file.layers
        ]
        assert model.layers[0]["inputs"] > 1024  # with constants
    with urlopen(f"{chain.endpoint}/content/{model.content.chunk_root}", timeout=60) as served:
        assert served.read() == path.read_bytes()
    shown = Person(tmp_path / "somebody", chain.endpoint).must("campaign", "show", str(number))
    assert file.root.hex() in shown.out


def test_a_file_names_it_beside_itself(tmp_path: Path) -> None:
    path = model_in(tmp_path)
    toml = tmp_path / "campaign.toml"
    toml.write_text(
        'title = "Birds"\nunit_price = 2\nreview_fee = 1\nbudget = 900\nmodel_file = "spam.mlp"\n',
        encoding="utf-8",
    )
    assert draft_from_toml(toml).spec(0).model == campaign_model(path)


def test_models_that_can_not_score_contents_are_refused(tmp_path: Path) -> None:
    for outputs, contents, says in ((2, False, "1024"), (score_outputs_max + 1, True, "at most")):
        path = model_in(tmp_path, outputs, contents)
        with pytest.raises(InputError, match=says):
            draft_from({**DRAFT, "model_file": str(path)}).spec(0)
    path.write_bytes(b"no model")
    with pytest.raises(InputError, match="can't be read"):
        draft_from({**DRAFT, "model_file": str(path)}).spec(0)
    with pytest.raises(InputError, match="check its name"):
        draft_from({**DRAFT, "model_file": str(tmp_path / "absent")}).spec(0)


def test_a_private_campaign_has_none(tmp_path: Path) -> None:
    path = model_in(tmp_path)
    draft = draft_from({**DRAFT, "model_file": str(path), "private": True}).read_by(
        bytes([9]).ljust(32, b"\0")
    )
    with pytest.raises(SpecError, match="private campaign has no model"):
        draft.spec(0)
