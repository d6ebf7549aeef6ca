"""Holds the operator's guide to the code: every setting with its default, and no metric that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from datalayer.store import ContentStore
from node.config import SETTINGS
from node.content_house import ContentHouse
from node.fingerprints import Fingerprints
from node.metrics import Metrics, ProcessNumbers

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "operator.md").read_text(encoding="utf-8")


def test_every_setting_is_in_the_guide_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([a-z0-9_.]+)` \| `([^`]*)` \|", GUIDE, re.MULTILINE))
    listed = {name for name in rows if "." in name}
    assert listed == {setting.name for setting in SETTINGS}
    for setting in SETTINGS:
        default = setting.default if setting.default not in ((), "") else "none"
        assert rows[setting.name] == str(default), setting.name


def test_metrics_of_the_guide_exist(tmp_path: Path) -> None:
    metrics, store = Metrics(), ContentStore(tmp_path, 1)
    metrics.registry.register(ProcessNumbers())
    metrics.add_numbers("content", ContentHouse(store, Fingerprints(store), None, 0).numbers)
    families = {
        family.name: family.type for family in text_string_to_metric_families(metrics.text().decode())
    }
    named = set(re.findall(r"`((?:omnitensor|process)_[a-z_]+)`", GUIDE))
    assert len(named) > 8
    for name in named:
        bare = name.removesuffix("_total") if families.get(name.removesuffix("_total")) == "counter" else name
        assert bare in families, f"{name} is no metric"
    store.close()
