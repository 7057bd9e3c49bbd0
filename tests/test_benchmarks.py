"""The benchmarks themselves: their arguments, how sides take turns, their rows, the GPU's script on a tiny model."""

import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from benchmarks import (
    _ablation,
    _floor,
    _gpu_checks,
    _llama,
    _record,
    _rounds,
    cache,
    chat,
    gpu,
    search,
    seq2seq,
    speech,
    train,
)
from luthier.methods.full import Full
from luthier.methods.lora import Lora

MODULES = (train, cache, chat, seq2seq, speech, gpu, search)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_benchmark_says_what_it_shows_without_running(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", "--help"])
    with pytest.raises(SystemExit, match="0"):
        module.main()
    said = capsys.readouterr().out
    assert str(module.__doc__).splitlines()[0] in said
    assert {"--seeds", "--minutes", "--name"} <= set(said.replace("[", " ").split())


def test_a_ratio_above_one_is_ahead_whichever_way_is_better() -> None:
    higher = _record.row("speed", 30.0, 20.0, peer_name="it", unit="tokens/s", better="higher")
    lower = _record.row("time", 2.0, 3.0, peer_name="it", unit="s", better="lower", quality=(0.9, 0.8))
    assert higher["ratio"] == lower["ratio"] == 1.5
    assert (lower["quality_ours"], lower["quality_peer"]) == (0.9, 0.8)
    assert higher["quality_ours"] is None


def test_what_is_kept_is_read_again_as_it_was(tmp_path: Path) -> None:
    rows = [_record.row("speed", 30.0, 20.0, peer_name="it", unit="tokens/s", better="higher")]
    _record.write("some", rows, folder=tmp_path, setting={"rows": 3})
    kept = json.loads((tmp_path / "some.json").read_text())
    assert kept["rows"] == rows
    assert kept["setting"] == {"rows": 3}
    assert {"date", "versions", "machine"} <= kept.keys()


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The sides that were run, each with its seed; a side takes no time and finds its seed."""
    seen: list[tuple[str, int]] = []

    def once(module: str, asked: dict[str, Any], **_: Any) -> dict[str, float]:
        seen.append((asked["name"], asked["seed"]))
        return {"seconds": float(asked["seed"])}

    monkeypatch.setattr(_rounds, "once", once)
    return seen


def test_sides_take_turns_and_a_slow_one_runs_once(asked_for: list[tuple[str, int]]) -> None:
    cases = {"case": {name: {"name": name} for name in ("a", "b", "slow")}}
    results = _rounds.alternate("m", cases, rounds=3, budget=_rounds.Budget(1), only_first=("slow",))
    assert asked_for == [("a", 0), ("b", 0), ("slow", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert _rounds.median(results, "case", "a", "seconds") == 1.0
    assert len(results["case", "slow"]) == 1


def test_no_round_begins_that_would_not_end_in_time(asked_for: list[tuple[str, int]]) -> None:
    results = _rounds.alternate("m", {"case": {"a": {"name": "a"}}}, rounds=5, budget=_rounds.Budget(0))
    assert len(results["case", "a"]) == 1


@pytest.fixture
def module_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A benchmark without torch: it tells its process, and fails where it is asked to."""
    lines = (
        "import os",
        "def one(asked):",
        "    return {'process': os.getpid(), 'tokens_per_s': 1 / asked['seconds']}",
    )
    (tmp_path / "its_own.py").write_text("\n".join(lines))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "its_own"


def test_a_side_runs_in_a_process_of_its_own(module_of_its_own: str) -> None:
    found = [_rounds.once(module_of_its_own, {"seconds": 2.0})["process"] for _ in range(2)]
    assert len({os.getpid(), *found}) == 3


def test_a_side_that_fails_is_told(module_of_its_own: str) -> None:
    with pytest.raises(_rounds.SideFailed, match="ZeroDivisionError"):
        _rounds.once(module_of_its_own, {"seconds": 0})


def test_tuning_takes_the_fastest_kind(module_of_its_own: str) -> None:
    kinds = [{"seconds": 3.0}, {"seconds": 1.0}, {"seconds": 2.0}]
    assert _rounds.fastest(module_of_its_own, kinds, told="it") == {"seconds": 1.0}


def test_rows_of_a_comparison_have_the_quality_of_both_sides() -> None:
    found = {"seconds": 2.0, "tokens_per_s": 10.0, "peak_mib": 5.0, "loss": 1.0, "floor_s": 1.0}
    theirs = {**found, "seconds": 4.0, "tokens_per_s": 5.0, "loss": 1.1}
    results = {("case", "luthier"): [found], ("case", "peer"): [theirs]}
    rows = _rounds.compare(results, "case", "peer", what="it", peer_name="peer", quality="loss")
    assert [row["ratio"] for row in rows] == [2.0, 2.0, 1.0]
    assert {(row["quality_ours"], row["quality_peer"]) for row in rows} == {(1.0, 1.1)}
    over = _rounds.over_floor(results, "case", "peer", what="it", peer_name="peer")
    assert (over["ours"], over["peer"]) == (2.0, 4.0)


def test_every_target_of_the_cache_is_a_case() -> None:
    assert {name: case.target for name, case in cache.CASES.items()} == {
        "head": 10.0, "last-1": 2.0, "lora-last-4": 1.8, "frozen-encoder": 3.0,
    }  # fmt: skip


def test_every_ablation_is_known() -> None:
    assert set(chat.ABLATIONS) == {*_ablation.LEFT_OUT, *_ablation.SETTINGS}
    for name in _ablation.LEFT_OUT:
        with _ablation.without(name):
            pass
    assert set(train.METHODS) == {"full", "lora", "last-2", "head"}
    assert set(speech.METHODS) == {"frozen-encoder", "encoder-only"}


def test_needed_flops_of_full_fine_tuning_are_three_times_those_of_a_forward_pass() -> None:
    shape = _llama.SHAPES["tiny"]
    width, inner, blocks, words = (
        shape[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size")
    )
    keys = width * shape["num_key_value_heads"] // shape["num_attention_heads"]
    weights = blocks * (2 * width * width + 2 * width * keys + 3 * width * inner) + width * words
    length = 50
    forward = 2 * length * weights + blocks * 2 * 2 * length * length * width
    full, lora = (_llama.needed_flops("tiny", method, [length, length]) for method in (Full(), Lora(rank=1)))
    assert full == pytest.approx(2 * 3 * forward, rel=0.01)
    assert lora == pytest.approx(2 * 2 * forward, rel=0.05)


def test_a_product_of_more_tokens_has_more_of_them_alone() -> None:
    weights, most = {64, 128}, _floor.TOKENS_AT_ONCE
    assert _floor._at_once((50, 64, 128), weights, most / 50) == (most, 64, 128)
    assert _floor._at_once((128, 50, 64), weights, most / 50) == (128, most, 64)
    assert _floor._at_once((15, 64, 128), weights, most / 50) == (most // 4, 64, 128)
    assert _floor._at_once((4, 50, 16, 50), weights, most / 50) == (4, 50, 16, 50)


def test_a_measured_rate_is_that_of_a_product() -> None:
    assert _floor.rate((64, 64, 64), torch.float32, torch.device("cpu"), seconds=0.001) > 1e6


@pytest.fixture
def tiny_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_llama, "_home", lambda: tmp_path)
    return tmp_path


def test_every_path_that_needs_no_gpu_is_right(tiny_folder: Path) -> None:
    found = dict(_gpu_checks.checks())
    done = {name: figures for name, figures in found.items() if "skipped" not in figures}
    assert all(figures["right"] for figures in done.values()), done
    if not torch.cuda.is_available():
        assert {name for name, way in _gpu_checks.WAYS.items() if way.needs_gpu} == found.keys() - done.keys()


@pytest.mark.slow
def test_the_script_for_a_gpu_runs_on_a_tiny_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "RESULTS", tmp_path / "results")
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    monkeypatch.setattr(sys, "argv", ["gpu", "--tiny", "--skip-checks", "--name", "try", "--peers", "trainer"])
    gpu.main()
    kept = [json.loads((tmp_path / folder / "try.json").read_text()) for folder in ("results", "out")]
    assert kept[0] == kept[1]
    assert not kept[0]["skipped"]
    assert {row["what"] for row in kept[0]["rows"]} == {
        f"tiny {method}: {figure}"
        for method in ("lora", "full")
        for figure in ("tokens_per_s", "peak_mib", "utilisation")
    }
