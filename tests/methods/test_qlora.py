"""LoRA over a quantised base: what may learn, and a run from its first step to the folded model."""

import contextlib
import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification, BitsAndBytesConfig, PreTrainedModel

import luthier
from luthier import recipe as recipes
from luthier.errors import MethodError
from luthier.methods import Method
from luthier.methods.adapter import Adapter
from luthier.methods.full import Full
from luthier.methods.ia3 import Ia3
from luthier.methods.lora import Lora
from luthier.methods.partial import Partial
from luthier.methods.prefix import Prefix
from luthier.methods.prompt import Prompt
from luthier.models.quantise import quantise, quantised, staying_frozen
from luthier.models.quantised import Quantised
from luthier.pipeline import follow
from luthier.run import Record, Run
from luthier.training.course import Material, course
from tests.contracts.kinds import kind_of
from tests.contracts.test_methods import learn
from tests.runs import tiny_model, tiny_run, write_rows
from tests.tiny import batch, classification, model_for, rows, separable, tokenizer
from tests.training.courses import events, settings

TASK = classification()
FAMILIES = ("bert", "gpt2", "llama", "t5")
LORA = {"kind": "lora", "rank": 4}
BESIDE = [Lora(rank=4, dora=True), Lora(rank=4, start="pissa"), Ia3(), Adapter(reduction=4), Prefix(length=2)]
BESIDE += [Prompt(length=2), Partial(train=("norm", "head"))]
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def applied(method: Method, family: str = "llama", kind: Any = "nf4", **said: Any) -> PreTrainedModel:
    model = model_for(TASK, family, **said)
    quantise(model, kind, device="cpu")
    with staying_frozen(model, method.kind()):
        method.apply(model, generator=torch.Generator().manual_seed(0))
    return model


@torch.no_grad()
def logits(model: Any) -> Tensor:
    return model.eval()(**batch(TASK, rows(6)).inputs).logits


@pytest.mark.parametrize(
    "method", [Full(), Partial(train=("head", "last-2")), Partial(train=("feed-forward",))], ids=lambda m: m.kind()
)
def test_a_method_that_would_move_quantised_weights_is_refused(method: Method) -> None:
    model = model_for(TASK, "llama").bfloat16()
    quantise(model, "nf4", device="cpu")
    with (
        pytest.raises(MethodError, match=rf"method: {method.kind()} would have weights learn, .*model\.quantize=none"),
        staying_frozen(model, method.kind()),
    ):
        method.apply(model, generator=torch.Generator())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", BESIDE, ids=kind_of)
def test_whatever_learns_beside_frozen_layers_learns_beside_quantised_ones(method: Method, family: str) -> None:
    model = applied(method, family)
    before = {name: layer.weight.clone() for name, layer in model.named_modules() if isinstance(layer, Quantised)}
    losses = [float(step.loss) for step in learn(model, method, [batch(TASK, separable(12))] * 8)]
    assert losses[-1] < losses[0]
    assert all(torch.equal(model.get_submodule(name).weight, weight) for name, weight in before.items())
    found = logits(model)
    with contextlib.suppress(MethodError):
        method.fold(model)
    torch.testing.assert_close(logits(model), found, rtol=0, atol=1e-5)


@pytest.mark.parametrize("part", ["head", "norm", "embedding"])
def test_parts_that_are_not_quantised_may_learn(part: str) -> None:
    model = applied(Partial(train=(part,)))
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}


@pytest.mark.parametrize("kind", ["nf4", "int8"])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_learns_and_no_quantised_byte_moves(family: str, kind: Any) -> None:
    method = Lora(rank=4)
    model = applied(method, family, kind, initializer_range=0.2)
    before = [[t.clone() for t in (layer.weight, *layer._buffers.values())] for layer in quantised(model)]
    torch.manual_seed(0)
    losses = [step.loss for step in learn(model, method, [batch(TASK, separable(12))] * 30)]
    assert sum(losses[-5:]) / 5 < 0.9 * losses[0]
    after = [[layer.weight, *layer._buffers.values()] for layer in quantised(model)]
    assert all(
        torch.equal(*pair) for old, new in zip(before, after, strict=True) for pair in zip(old, new, strict=True)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_folded_into_plain_weights_it_answers_the_same(family: str) -> None:
    method = Lora(rank=4)
    model = applied(method, family)
    learn(model, method, [batch(TASK, rows(8, seed=seed)) for seed in range(3)])
    unfolded = logits(model)
    method.fold(model)
    torch.testing.assert_close(logits(model), unfolded, rtol=0, atol=1e-5)
    assert not quantised(model)
    assert set(model.state_dict()) == set(model_for(TASK, family).state_dict())
    assert not any(module._forward_hooks for module in model.modules())


def qlora_run(folder: Path, precision: str, family: str = "llama", **settings: Any) -> tuple[Run, list[Record]]:
    base = {"name": str(tiny_model(folder / "tiny", family)), "quantize": "nf4"}
    training = {"epochs": 1, "batch_size": 8, "learning_rate": 5e-3, "precision": precision, "seed": 1}
    return tiny_run(folder, **{"method": LORA, "model": base, "training": training, **settings})


def test_a_run_ends_with_a_plain_model_that_answers_as_the_quantised_one(tmp_path: Path) -> None:
    run, records = qlora_run(tmp_path, "bf16")
    assert run.recipe.model.dtype == "bfloat16"
    (folded,) = events(records, "folded")
    assert 0 < folded["difference"] < 2e-2
    assert records[-2]["passed"]
    config = json.loads((run.model_folder / "config.json").read_text())
    assert "quantization_config" not in config
    tensors = load_file(run.model_folder / "model.safetensors")
    assert {t.dtype for name, t in tensors.items() if "layers" in name} == {torch.bfloat16}
    assert not quantised(run.load("cpu")[0])
    assert "bitsandbytes" in json.loads((run.folder / "environment.json").read_text())["versions"]
    assert "Folding into plain weights moved the answers by" in (run.folder / "report.html").read_text()
    assert "model.quantize" in (run.folder / "README.md").read_text()


def test_a_run_whose_method_does_not_fold_is_opened_over_a_quantised_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Lora, model: PreTrainedModel) -> None:
        raise MethodError("no")

    monkeypatch.setattr(Lora, "fold", refuse)
    run, records = qlora_run(tmp_path, "fp32")
    assert not run.model_folder.exists()
    assert not events(records, "folded")
    assert records[-2]["difference"] < 1e-5
    assert quantised(run.load("cpu")[0])


def test_a_run_goes_on_bit_by_bit(tmp_path: Path) -> None:
    asked = {
        "model": {"name": str(tiny_model(tmp_path / "tiny", "gpt2")), "quantize": "nf4"},
        "data": {"train": str(write_rows(tmp_path / "rows.csv")), "test": 0.2},
        "task": "text-classification",
        "method": LORA,
        "training": {"steps": 6, "batch_size": 8, "checkpoint_every": 2, "precision": "bf16"},
    }
    calm = luthier.train(recipes.check({**asked, "output": str(tmp_path / "calm")}))
    stopped = recipes.check({**asked, "output": str(tmp_path / "stopped")})
    line = follow(stopped)
    for record in line:
        if record["event"] == "checkpoint" and record["step"] == 4:
            line.close()
    again = luthier.train(stopped, resume=True)
    files = [(run.model_folder / "model.safetensors").read_bytes() for run in (calm, again)]
    assert files[0] == files[1]


def test_frozen_states_of_a_quantised_part_are_kept() -> None:
    told = []
    for cache in ("memory", "off"):
        method = Lora(rank=2, targets=("last-1",))
        model, processor = applied(method, "bert", **NO_DROPOUT), tokenizer()
        train, validation = (TASK.prepare(rows(num, seed=num), processor) for num in (30, 9))
        made = Material(model, processor, TASK, train, validation)
        records = list(course(made, method, settings(epochs=3, cache=cache)))
        told.append((records, {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}))
    assert "3 of 4 blocks computed once for each row" in events(told[0][0], "cache")[0]["notes"][0]
    for name, expected in told[1][1].items():
        torch.testing.assert_close(told[0][1][name], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # PEFT's and bitsandbytes' own
def test_peft_puts_the_adapter_on_a_base_that_transformers_quantised(tmp_path: Path) -> None:
    model_for(TASK, "llama").save_pretrained(tmp_path / "base")
    method = Lora(rank=4)
    ours = applied(method, "llama")
    learn(ours, method, [batch(TASK, rows(8, seed=seed)) for seed in range(3)])
    method.save(ours, tmp_path / "adapter")
    how = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    base = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "base", quantization_config=how, device_map="cpu", dtype=torch.float32
    )
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    for module in theirs.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):  # else it would compute in bf16
            module.support_avx512bf16_for_cpu = False
    torch.testing.assert_close(logits(theirs), logits(ours), rtol=0, atol=1e-5)
