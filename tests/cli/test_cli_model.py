"""The commands of models: from weights and examples to a file, its outputs as nodes give them, and checks of others' claims."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from consensus.work.fingerprint import content_rows, features
from consensus.work.programs import Program
from tests.cli.people import Person
from tests.sdk.test_models_files import safetensors


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network trained on digits, its examples, and others with answers."""
    folder = tmp_path_factory.mktemp("models")
    rows, truth = load_digits(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sixty rounds are enough here
        model = MLPClassifier((16,), max_iter=60, random_state=0).fit(rows[:1000] / 16, truth[:1000])
    tensors = {}
    for number, (weights, biases) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        tensors[f"{number * 2}.weight"] = ("F64", np.ascontiguousarray(weights.T))
        tensors[f"{number * 2}.bias"] = ("F64", biases)
    (folder / "digits.safetensors").write_bytes(safetensors(tensors))
    np.save(folder / "examples.npy", rows[:400] / 16)
    held_out = np.concatenate([rows[1000:1300] / 16, truth[1000:1300, None]], axis=1)
    np.savetxt(
        folder / "held-out.csv",
        held_out,
        delimiter=",",
        header=",".join([*map(str, range(64)), "digit"]),
        comments="",
    )
    return folder


@pytest.fixture(scope="module")
def exported(folder: Path) -> tuple[Path, Any]:
    model = folder / "digits.mlp"
    found = Person(folder).must(
        "model", "export", "--from", str(folder / "digits.safetensors"), "--rows", str(folder / "examples.npy"),
        "--kind", "classes", "--to", str(model), "--json",
    )  # fmt: skip
    return model, found.json


def test_a_model_is_exported_shown_run_and_checked(exported: tuple[Path, Any], folder: Path) -> None:
    model, said = exported
    someone = Person(folder)
    assert said["report"]["agreement"] > 0.95
    assert said["root"] in someone.must("model", "show", str(model)).out
    assert someone.must("model", "show", str(model), "--json").json["card"]["outputs"]["kind"] == "classes"
    rows, outputs = folder / "rows.bin", folder / "outputs.bin"
    ran = someone.must(
        "model", "run", str(model), "--rows", str(folder / "held-out.csv"), "--label", "digit",
        "--rows-to", str(rows), "--to", str(outputs),
    )  # fmt: skip
    program = Program.read(model.read_bytes())
    given = np.frombuffer(rows.read_bytes(), np.int8).reshape(-1, program.inputs)
    assert program.run(given).tobytes() == outputs.read_bytes()
    assert [int(line) for line in ran.out.split()] == program.run(given).argmax(axis=1).tolist()
    again = someone.must("model", "run", str(model), "--operands", str(rows))
    assert again.out == ran.out
    checked = someone.must(
        "model", "check", str(model), "--rows", str(folder / "held-out.csv"), "--label", "digit",
        "--operands", str(rows), "--outputs", str(outputs), "--root", said["root"], "--json",
    ).json  # fmt: skip
    truth = np.loadtxt(folder / "held-out.csv", delimiter=",", skiprows=1)[:, -1]
    assert checked["accuracy"] == pytest.approx((program.run(given).argmax(axis=1) == truth).mean())
    assert checked["wrong_rows"] == 0


def test_a_wrong_output_is_found(exported: tuple[Path, Any], folder: Path, tmp_path: Path) -> None:
    model, _ = exported
    someone, rows, outputs = Person(folder), tmp_path / "rows.bin", tmp_path / "outputs.bin"
    someone.must("model", "run", str(model), "--rows", str(folder / "examples.npy"),
                 "--rows-to", str(rows), "--to", str(outputs))  # fmt: skip
    data = bytearray(outputs.read_bytes())
    data[37 * 10 + 4] ^= 1
    outputs.write_bytes(data)
    said = someone.type("model", "check", str(model), "--operands", str(rows), "--outputs", str(outputs))
    assert said.code == 1
    assert "37" in said.err
    said = someone.type("model", "check", str(model), "--root", "00" * 32)
    assert said.code == 1
    assert "another root" in said.err


def test_without_a_card_operands_alone_are_run(
    exported: tuple[Path, Any], folder: Path, tmp_path: Path
) -> None:
    model, _ = exported
    bare, rows = tmp_path / "bare.mlp", tmp_path / "rows.bin"
    bare.write_bytes(model.read_bytes())
    program = Program.read(model.read_bytes())
    given = np.random.default_rng(0).integers(-63, 64, (5, program.inputs)).astype(np.int8)
    rows.write_bytes(given.tobytes())
    said = Person(folder).must("model", "run", str(bare), "--operands", str(rows), "--json").json
    assert said["predictions"] == program.run(given).tolist()
    refused = Person(folder).type("model", "run", str(bare), "--rows", str(folder / "examples.npy"))
    assert refused.code == 2
    assert ".json" in refused.err


def test_contents_are_scored(folder: Path, tmp_path: Path) -> None:
    """A model on operands of contents, from weights in a file."""
    texts = [f"{word} {number} {word}s and {word}" * 9 for number in range(20) for word in ("owl", "loan")]
    rows = np.stack([features(text.encode()) for text in texts])
    model = MLPClassifier((4,), max_iter=200, random_state=0).fit(rows, [0, 1] * 20)
    tensors = {}
    for number, (weights, biases) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        tensors[f"{number}.weight"] = ("F32", np.ascontiguousarray(weights.T.astype(np.float32)))
        tensors[f"{number}.bias"] = ("F32", biases.astype(np.float32))
    (tmp_path / "w.safetensors").write_bytes(safetensors(tensors))
    np.save(tmp_path / "rows.npy", rows)
    someone = Person(folder)
    someone.must("model", "export", "--from", str(tmp_path / "w.safetensors"), "--rows", str(tmp_path / "rows.npy"),
                 "--kind", "binary", "--names", "owls,loans", "--of-contents", "--to", str(tmp_path / "m.mlp"))  # fmt: skip
    (tmp_path / "a.txt").write_text(texts[0], encoding="utf-8")
    (tmp_path / "b.txt").write_text(texts[1], encoding="utf-8")
    said = someone.must("model", "run", str(tmp_path / "m.mlp"), "--content", str(tmp_path / "a.txt"),
                        "--content", str(tmp_path / "b.txt"), "--rows-to", str(tmp_path / "rows.bin"))  # fmt: skip
    assert said.out.split() == ["owls", "loans"]
    width = Program.read((tmp_path / "m.mlp").read_bytes()).inputs
    assert (tmp_path / "rows.bin").read_bytes() == content_rows(rows[:2], width).tobytes()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "digits.mlp"), "one kind"),
        (("run", "digits.mlp", "--rows", "examples.npy", "--operands", "examples.npy"), "one kind"),
        (("check", "digits.mlp", "--operands", "examples.npy"), "--operands and --outputs"),
        (("check", "digits.mlp", "--rows", "examples.npy"), "--label"),
        (("show", "examples.npy"), "ModelFile"),
        (("export", "--from", "examples.npy", "--rows", "examples.npy", "--kind", "classes", "--to", "x.mlp"), "safetensors"),
        (("export", "--from", "digits.safetensors", "--rows", "held-out.csv", "--kind", "classes", "--to", "x.mlp"),
         "--label"),
        (("export", "--from", "digits.safetensors", "--rows", "examples.npy", "--kind", "binary", "--to", "x.mlp"),
         "not of the kind"),
        (("export", "--from", "digits.safetensors", "--rows", "examples.npy", "--kind", "classes", "--names", "a,b",
          "--to", "x.mlp"), "name for each"),
        (("export", "--from", "digits.safetensors", "--rows", "examples.npy", "--kind", "classes", "--to", "digits.mlp"),
         "not overwritten"),
        (("run", "digits.mlp", "--rows", "examples.npy", "--to", "no/such/folder"), "can't be written"),
    ],
)  # fmt: skip
def test_wrong_usage_is_told_in_a_line(
    exported: tuple[Path, Any], folder: Path, arguments: tuple[str, ...], says: str
) -> None:
    assert exported
    given = [str(folder / part) if "." in part or "/" in part else part for part in arguments]
    said = Person(folder).type("model", *given)
    assert said.code in (1, 2)
    assert says in said.err
    assert len(said.err.splitlines()) <= 2
    assert not (folder / "x.mlp").exists()


def test_models_run_without_numpy(exported: tuple[Path, Any], folder: Path) -> None:
    script = (
        "import sys; sys.modules['numpy'] = None\n"
        "from omnitensor.cli.main import run\n"
        f"sys.exit(run(['model', 'run', {str(exported[0])!r}, '--rows', {str(folder / 'examples.npy')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 400
