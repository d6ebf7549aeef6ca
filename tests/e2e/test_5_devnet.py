"""`python -m deploy.devnet --once`: the story as people see it, from nothing to paid."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.devnet import process

pytestmark = pytest.mark.xdist_group("e2e-devnet")


@pytest.mark.timeout(1_300)
def test_story_reaches_paid(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    told = subprocess.run(
        [sys.executable, "-m", "deploy.devnet", "--once", "--ports", "auto", "--folder", str(folder)],
        env=process.environment({"COLUMNS": "200"}),
        cwd=process.ROOT,
        capture_output=True,
        text=True,
        timeout=1_200,
        check=False,
    )
    assert told.returncode == 0, told.stdout[-6_000:] + told.stderr[-3_000:]
    for line in (
        "$ otensor-cli login --key <your_private_key>",
        "$ otensor-cli upload-data --task-id 1234 --file ",
        "$ otensor-cli check-status --task-id 1234",
        "$ otensor-cli check-rewards --wallet omnit1",
        "paid in full",
        "rejected for",
        "= 1,000,000,000 OMNIT, to the unit",
        "validators found work of the worker good",
        "useful share of the work: ",
        "omnitensor_work_useful_bps at http://127.0.0.1:",
        "everything stopped in good order",
    ):
        assert line in told.stdout, line
    assert "omsk1" not in told.stdout


def test_folder_that_exists_is_refused(tmp_path: Path) -> None:
    told = process.run("deploy.devnet", "--once", "--folder", str(tmp_path))
    assert told.returncode == 1
    assert str(tmp_path) in told.stdout
    assert list(tmp_path.iterdir()) == []
