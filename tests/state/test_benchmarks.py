"""The benchmark runner: what it writes, what it leaves out, what it refuses. Numbers themselves are not judged here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import commitment, consensus, replay, replay_1m, run, snapshots, throughput
from benchmarks.run import Aim, Benchmark


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results" / "latest.json")
    for name, value in {"ACCOUNTS": 40, "BLOCKS": 2, "TRANSFERS": 20}.items():
        monkeypatch.setattr(replay, name, value)
    return tmp_path / "results" / "latest.json"


def test_replay_is_measured_and_written(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["replay"]) == 0
    written = json.loads(results.read_text(encoding="utf-8"))
    assert 0 < written["replay_share_of_ed25519"] < 2
    assert written["cpu_count"] >= 1
    assert "replay_share_of_ed25519" in capsys.readouterr().out
    results.write_text(json.dumps({"node_rss_mb": 99}), encoding="utf-8")
    assert run.main(["replay"]) == 0
    assert json.loads(results.read_text(encoding="utf-8"))["node_rss_mb"] == 99


def test_a_million_rows_are_measured_when_named(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ROWS": 3_000, "TOUCHED": 100, "BLOCKS": 3, "PROOFS": 50}.items():
        monkeypatch.setattr(commitment, name, value)
    monkeypatch.setattr(replay_1m, "OTHERS", 500)
    monkeypatch.setattr(snapshots, "ROWS", 400)
    assert run.main(["commitment", "replay_1m", "snapshots"]) == 0
    written = json.loads(results.read_text(encoding="utf-8"))
    assert written["snapshot_import_rows_s"] > 0
    assert written["snapshot_bytes_1m"] > 400 * 40
    assert written["commitment_ms_1m_1000"] > 0
    assert 64 < written["proof_bytes_p50"] < 1_600
    for kind in ("", "delegations_", "mixed_"):
        assert 0 < written[f"{kind}replay_share_of_ed25519_1m"] < 2
    monkeypatch.setattr(run, "BENCHMARKS", tuple(each for each in run.BENCHMARKS if each.by_name))
    assert run.main([]) == 0
    assert "proof_bytes_p50" not in json.loads(results.read_text(encoding="utf-8"))


def test_finality_takes_three_message_delays(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual time, so this number is exact; certificates of a hundred are a few bytes larger than those of four."""
    for name, value in {"BLOCKS": 8, "SIMULATED_SEEDS": 1}.items():
        monkeypatch.setattr(consensus, name, value)
    assert run.main(["consensus"]) == 0
    written = json.loads(results.read_text(encoding="utf-8"))
    assert written["finality_message_delays"] == written["finality_message_delays_21"] == 3
    assert written["block_message_delays"] == 2
    assert written["certificate_bytes_4"] < written["certificate_bytes_100"] < 200
    assert written["simulation_speed"] > 0


def test_absent_benchmarks_are_left_out_only_where_they_may_be(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = Benchmark("absent", "benchmarks.absent", ("x",), optional=True)
    monkeypatch.setattr(run, "BENCHMARKS", (absent,))
    assert run.main([]) == 0
    assert "left out" in capsys.readouterr().out
    monkeypatch.setattr(run, "BENCHMARKS", (Benchmark("absent", "benchmarks.absent", ("x",)),))
    with pytest.raises(ModuleNotFoundError):
        run.main([])


def test_a_promised_number_that_is_missing_is_an_error(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "BENCHMARKS", (Benchmark("replay", "benchmarks.replay", ("something_else",)),))
    with pytest.raises(RuntimeError, match="something_else"):
        run.main([])
    assert not results.exists()


def test_the_name_all_runs_every_one_and_prints_a_table(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    by_name = Benchmark("replay", "benchmarks.replay", ("replay_share_of_ed25519",), by_name=True)
    monkeypatch.setattr(run, "BENCHMARKS", (by_name,))
    assert run.main([]) == 0
    assert "replay_share_of_ed25519" not in json.loads(results.read_text(encoding="utf-8"))
    results.write_text(json.dumps({"left_from_before": 1}), encoding="utf-8")
    assert run.main(["all"]) == 0
    written = json.loads(results.read_text(encoding="utf-8"))
    assert "replay_share_of_ed25519" in written
    assert "left_from_before" not in written
    assert capsys.readouterr().out.count("ed25519_per_second") == 2


def test_final_transactions_of_a_real_node_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SENDERS": 20, "TRANSFERS": {1: 400}, "BATCH": 20}.items():
        monkeypatch.setattr(throughput, name, value)
    assert throughput.measure()["tps_final_1"] > 1


def test_unknown_names_are_refused(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_aims_have_a_direction() -> None:
    assert Aim(at_least=0.5).met(0.5)
    assert not Aim(at_least=0.5).met(0.49)
    assert Aim(at_most=3).met(3)
    assert not Aim(at_most=3).met(3.1)
