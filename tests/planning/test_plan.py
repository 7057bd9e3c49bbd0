"""Plans: of every task, of a model of eight billion parameters, on a screen and as JSON; and what is refused."""

import json
import resource
from pathlib import Path
from typing import Any

import pytest

from luthier import recipe as recipes
from luthier.cli import main
from luthier.component import find
from luthier.errors import LuthierError, RecipeError
from luthier.models.quantised import BITS
from luthier.planning import options as counted
from luthier.planning import plan as planning
from luthier.planning import stages
from luthier.planning.advice import advice
from luthier.planning.amounts import read_amount, read_rate, written
from luthier.planning.options import Option, options
from luthier.planning.plan import Room
from luthier.planning.subject import Subject, ready, subject_of
from tests.tiny import FAMILIES

LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}
TASKS = {
    "text-classification": "bert",
    "token-classification": "roberta",
    "question-answering": "bert",
    "multiple-choice": "bert",
    "masked-lm": "distilbert",
    "causal-lm": "llama",
    "seq2seq": "bart",
}

SHALLOW = {"bart": {"encoder_layers": 2, "decoder_layers": 2}, "distilbert": {"n_layers": 2}}


def folder_of(folder: Path, config: dict[str, Any]) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def planned(folder: Path, task: str, length: int, *overrides: str, family: str | None = None) -> Subject:
    family = family or TASKS[task]
    folder_of(folder, {"model_type": family, **FAMILIES[family], **SHALLOW.get(family, {"num_hidden_layers": 2})})
    asked = [f"model={folder}", "data.train=none", f"task={task}", "training.batch_size=4", *overrides]
    return subject_of(recipes.parse("", asked), length=length)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_planned_from_a_length_alone(task: str, tmp_path: Path) -> None:
    made = planning.plan(planned(tmp_path, task, 16), Room(10**9), compare=False)
    training, evaluation, *generation = made.stages
    assert training.peak > evaluation.peak > 0
    assert training.num_flops > 0
    assert bool(generation) == find("tasks", task)().generates  # type: ignore[attr-defined]
    assert made.fits
    assert made.micro_batch == 4


def test_eight_billion_parameters_are_planned_in_a_small_memory(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    folder_of(tmp_path, LLAMA_8B)
    asked = [f"model={tmp_path}", "data.train=none", "task=causal-lm", "training.batch_size=1", "method=lora"]
    more = ["training.device=cuda", "training.precision=bf16", "model.dtype=bfloat16", "training.checkpointing=blocks"]
    with ready(subject_of(recipes.parse("", [*asked, *more]), length=2048)) as made:
        stage = stages.training(made)
    parameters = 8_030_261_248
    assert 2 * parameters < stage.peak < 2.5 * parameters
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 500e6


def test_a_larger_batch_takes_more_and_the_largest_that_fits_is_found(tmp_path: Path) -> None:
    subject = planned(tmp_path, "causal-lm", 64, "training.batch_size=8", "training.micro_batch_tokens=null")

    def peak(num_rows: int) -> int:
        with ready(subject.of(training={"micro_batch_size": num_rows, "micro_batch_tokens": None})) as made:
            return stages.training(made).peak

    assert peak(5) < peak(6)
    assert planning.largest_micro_batch(subject, Room(peak(5))) == 5
    assert planning.largest_micro_batch(subject, Room(peak(1) // 2)) == 0
    assert planning.largest_micro_batch(subject, Room(None)) is None


def test_attention_on_a_gpu_keeps_no_matrix(tmp_path: Path) -> None:
    peaks = []
    for device in ("cpu", "cuda"):
        extra = (f"training.device={device}", "training.precision=bf16", "training.micro_batch_tokens=null")
        with ready(planned(tmp_path, "causal-lm", 128, *extra)) as made:
            peaks.append(stages.training(made).peak)
    assert peaks[1] < peaks[0]


def test_every_method_is_compared_with_and_without_checkpointing(tmp_path: Path) -> None:
    found = {(each.name, each.checkpointing): each for each in options(planned(tmp_path, "causal-lm", 32))}
    assert len(found) == 10
    assert "model.quantize=nf4" in found["qlora", False].settings
    assert found["full", True].peak < found["full", False].peak
    # At a width of 32 an update of rank 16 keeps more activations than it saves elsewhere.
    assert found["lora", False].parts["optimizer"] < found["full", False].parts["optimizer"]
    linears = 2 * (32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 64)
    lora, qlora = found["lora", False], found["qlora", False]
    width, levels = 2 if "model.dtype=bfloat16" in lora.settings else 4, 4 * 256
    assert width == 4 or not any("dtype" in each for each in qlora.settings)
    saved = lora.parts["weights"] - qlora.parts["weights"]
    assert saved == pytest.approx(linears * (width - BITS["nf4"] / 8) - levels, rel=0.005)


def test_without_bitsandbytes_qlora_is_counted_by_its_formula(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted, "is_there", lambda module: False)
    found = {(each.name, each.checkpointing): each for each in options(planned(tmp_path, "causal-lm", 32))}
    lora, qlora = found["lora", False], found["qlora", False]
    width = 2 if "model.dtype=bfloat16" in lora.settings else 4
    linears = 2 * (32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 64)
    assert lora.peak - qlora.peak == pytest.approx(linears * (width - BITS["nf4"] / 8), rel=0.001)
    assert "model.quantize=nf4" in qlora.settings


def test_a_quantised_recipe_is_planned_with_all_its_parameters(tmp_path: Path) -> None:
    plain, quantised = (
        planning.plan(planned(tmp_path, "causal-lm", 32, "method=lora", *more), Room(None), compare=False)
        for more in ((), ("model.quantize=nf4",))
    )
    assert (quantised.num_parameters, quantised.num_learnt) == (plain.num_parameters, plain.num_learnt)
    assert quantised.stages[0].parts["weights"] < plain.stages[0].parts["weights"]


def test_full_fine_tuning_of_a_quantised_model_is_refused_by_the_plan(tmp_path: Path) -> None:
    with pytest.raises(LuthierError, match=r"method: full would have .* learn, which model\.quantize=nf4"):
        planning.plan(planned(tmp_path, "causal-lm", 32, "model.quantize=nf4"), Room(None), compare=False)


def test_several_devices_share_weights_gradients_and_optimiser_but_no_activations(tmp_path: Path) -> None:
    subject = planned(tmp_path, "causal-lm", 32)
    one, *_ = planning.plan(subject, Room(10**9), compare=False).stages
    four, *_ = planning.plan(subject, Room(10**9, 4), compare=False).stages
    shared = ("weights", "gradients", "optimizer")
    assert all(four.parts[part] == one.parts[part] // 4 for part in shared)
    assert all(four.parts[part] == one.parts[part] for part in one.parts if part not in shared)


def test_a_stated_rate_gives_the_time_of_a_step(tmp_path: Path) -> None:
    made = planning.plan(planned(tmp_path, "causal-lm", 32), Room(None), rate=1e9, compare=False)
    assert made.seconds == pytest.approx((made.stages[0].num_flops / 1e9,) * 2)


SMALL, LARGE = 10**7, 8 * 10**9
TABLE = [
    Option("full", False, {"weights": 80}, ("method=full",)),
    Option("lora", False, {"weights": 40}, ("method=lora",)),
    Option("lora", True, {"weights": 20}, ("method=lora", "training.checkpointing=blocks")),
    Option("qlora", True, {"weights": 10}, ("method=lora", "model.quantize=nf4", "training.checkpointing=blocks")),
]


@pytest.mark.parametrize(
    ("memory", "num_rows", "num_parameters", "begins"),
    [
        (100, 5000, SMALL, "Take full (method=full)"),
        (100, 500, SMALL, "Take lora (method=lora): 0 KB, as 500 rows are few"),
        (100, 5000, LARGE, "Take lora (method=lora): 0 KB, as the model has 8.0 billion parameters"),
        (50, 5000, SMALL, "Take lora (method=lora): 0 KB, as full does not fit"),
        (30, 5000, SMALL, "Take lora (method=lora training.checkpointing=blocks)"),
        (15, 5000, SMALL, "Take qlora (method=lora model.quantize=nf4 training.checkpointing=blocks)"),
        (5, 5000, SMALL, "Nothing fits in 0 KB: the least, qlora"),
        (None, None, SMALL, "Take full"),
    ],
)
def test_the_advice_follows_rows_size_and_memory(
    memory: int | None, num_rows: int | None, num_parameters: int, begins: str
) -> None:
    told = advice(TABLE, memory, num_rows=num_rows, num_labels=0, num_parameters=num_parameters)
    assert told[0].startswith(begins)


@pytest.mark.parametrize(
    ("text", "amount"), [("24GB", 24e9), ("80 GiB", 80 * 2**30), ("1.5gb", 1.5e9), ("512MB", 512e6)]
)
def test_amounts_are_read_as_people_write_them(text: str, amount: float) -> None:
    assert read_amount(text, where="--memory") == amount


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("24GX", "no unit that is known"),
        ("24", "no unit"),
        ("much", "no amount"),
        ("0GB", "no memory"),
        ("-1GB", "no a"),
    ],
)
def test_an_unknown_amount_is_refused(text: str, told: str) -> None:
    with pytest.raises(RecipeError, match=f"--memory: {text} .*{told}"):
        read_amount(text, where="--memory")


def test_rates_are_read_as_people_write_them() -> None:
    assert read_rate("400GFLOPS", where="--rate") == 400e9
    assert read_rate("1.2 tflops", where="--rate") == 1.2e12
    with pytest.raises(RecipeError, match="--rate: 400 is no rate"):
        read_rate("400", where="--rate")


def test_amounts_are_written_in_the_unit_that_suits() -> None:
    assert [written(amount) for amount in (5.31e9, 2.5e6, 900)] == ["5.3 GB", "2.5 MB", "1 KB"]


def test_a_length_beyond_the_models_positions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--length: 4096, but this model takes 128 tokens at most"):
        planned(tmp_path, "text-classification", 4096)


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    asked = [f"model={tmp_path}", "data.train=none", "task=text-classification"]
    with pytest.raises(LuthierError, match=f"{tmp_path} cannot be loaded"):
        subject_of(recipes.parse("", asked), length=16)


def test_rows_of_sound_are_not_made_up(tmp_path: Path) -> None:
    asked = [f"model={tmp_path}", "data.train=none", "task=speech-recognition"]
    with pytest.raises(RecipeError, match="leave --length out"):
        subject_of(recipes.parse("", asked), length=16)


def test_the_command_writes_json_that_says_what_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder_of(tmp_path, {"model_type": "bert", **FAMILIES["bert"]})
    asked = ["--task", "text-classification", "--length", "32", "--memory", "1GB", "--batch-size", "4"]
    with pytest.raises(SystemExit, match="0"):
        main(["plan", "--model", str(tmp_path), *asked, "--no-compare", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["fits"]
    assert told["memory"] == 10**9
    assert told["micro_batch_size"] == 4
    assert told["stages"]["training"]["peak"] == sum(
        told["stages"]["training"][part]
        for part in ("weights", "gradients", "optimizer", "activations", "logits", "inputs")
    )


def test_the_command_shows_the_table_and_an_advice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder_of(tmp_path, {"model_type": "bert", **FAMILIES["bert"], "num_hidden_layers": 2})
    with pytest.raises(SystemExit, match="0"):
        main(["plan", "--model", str(tmp_path), "--task", "text-classification", "--length", "16", "--memory", "1GB"])
    told = capsys.readouterr().out
    assert all(word in told for word in ("Peak memory", "optimiser", "--measure", "qlora", "Take full (method=full)"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--memory", "24GX", "--length", "16", "--task", "causal-lm"], "24GX has no unit that is known; say one of"),
        (["--length", "16"], "say it with --task"),
        (["--length", "16", "--task", "causal-lm", "--measure"], "--measure takes real steps"),
    ],
)
def test_the_command_says_what_is_wrong(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["plan", "--model", str(tmp_path), *arguments])
    assert told in capsys.readouterr().err
