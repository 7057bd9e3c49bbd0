"""What learns under `partial`, counted by formula; at which rate; and which blocks a probe of the rows chooses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from luthier import recipe as recipes
from luthier.component import Facts
from luthier.errors import MethodError
from luthier.groundwork import Built, build, read_rows
from luthier.methods._levels import levels
from luthier.methods.partial import Partial
from luthier.models.anatomy import read
from luthier.models.heads import remember_new
from luthier.pipeline import _size
from luthier.planning import stages
from luthier.planning.subject import ready, subject_of
from tests.runs import tiny_model, write_rows
from tests.tiny import tiny

WIDTH, INNER, WORDS, POSITIONS, LABELS, BLOCKS = 32, 64, 64, 128, 3, 4
BERT_NORM, LLAMA_NORM = 2 * WIDTH, WIDTH
BERT_BLOCK = 4 * (WIDTH * WIDTH + WIDTH) + (WIDTH * INNER + INNER) + (INNER * WIDTH + WIDTH) + 2 * BERT_NORM
LLAMA_BLOCK = 2 * WIDTH * WIDTH + 2 * WIDTH * (WIDTH // 2) + 3 * WIDTH * INNER + 2 * LLAMA_NORM  # half the key heads
BERT_HEAD, LLAMA_HEAD = WIDTH * LABELS + LABELS, WIDTH * LABELS
BERT = (WORDS + POSITIONS + 2) * WIDTH + BERT_NORM + BLOCKS * BERT_BLOCK + (WIDTH * WIDTH + WIDTH) + BERT_HEAD
LLAMA = WORDS * WIDTH + BLOCKS * LLAMA_BLOCK + LLAMA_NORM + LLAMA_HEAD


def applied(family: str, head: str = "sequence-classification", **settings: Any) -> PreTrainedModel:
    model = tiny(family, head=head)
    Partial.model_validate(settings).apply(model, generator=torch.Generator())
    return model


def learning(model: PreTrainedModel) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def rates(model: PreTrainedModel, **settings: Any) -> dict[str, float]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = Partial.model_validate(settings).groups(model)
    return {names[id(p)]: group.learning_rate_scale for group in groups for p in group.parameters}


@pytest.mark.parametrize(
    ("family", "train", "number"),
    [
        ("bert", ["head"], BERT_HEAD),
        ("bert", ["last-2"], 2 * BERT_BLOCK),
        ("bert", ["last-3", "head"], 3 * BERT_BLOCK + BERT_HEAD),
        ("bert", ["norm"], (2 * BLOCKS + 1) * BERT_NORM),
        ("bert", ["bias"], (2 * BLOCKS + 1) * WIDTH + BLOCKS * (5 * WIDTH + INNER) + WIDTH + LABELS),
        ("bert", ["all"], BERT),
        ("llama", ["head"], LLAMA_HEAD),
        ("llama", ["last-2"], 2 * LLAMA_BLOCK),
        ("llama", ["first-1", "head"], LLAMA_BLOCK + LLAMA_HEAD),
        ("llama", ["norm"], (2 * BLOCKS + 1) * LLAMA_NORM),
        ("llama", ["all"], LLAMA),
    ],
)
def test_the_numbers_of_a_runs_record_are_those_of_the_formula(family: str, train: list[str], number: int) -> None:
    total = BERT if family == "bert" else LLAMA
    assert _size(applied(family, train=train)) == {"parameters": total, "trainable": number}


@pytest.mark.parametrize(
    ("family", "train", "begins"),
    [
        ("bert", "head", ["classifier"]),
        ("bert", "last-1", ["bert.encoder.layer.3"]),
        ("bert", "first-2", ["bert.encoder.layer.0", "bert.encoder.layer.1"]),
        ("t5", "encoder", ["transformer.encoder.block."]),
        ("t5", "decoder", ["transformer.decoder.block."]),
        ("bert", "pooler", ["bert.pooler"]),
        ("bert", "embedding", ["bert.embeddings."]),
        ("gpt2", "blocks.1-2", ["transformer.h.1.", "transformer.h.2."]),
        ("bert", "layer.*.output", [f"bert.encoder.layer.{number}." for number in range(4)]),
    ],
)
def test_every_preset_works_as_it_is_typed(family: str, train: str, begins: list[str]) -> None:
    found = learning(applied(family, train=train))
    assert all(name.startswith(tuple(begins)) for name in found)
    assert all(any(name.startswith(begin) for name in found) for begin in begins)


@pytest.mark.parametrize(("train", "word"), [("attention", "attention"), ("feed-forward", "dense"), ("norm", "Norm")])
def test_every_role_works_as_it_is_typed(train: str, word: str) -> None:
    found = learning(applied("bert", train=train))
    assert len(found) >= 2 * BLOCKS * 2
    assert all(word in name for name in found)


def test_what_is_frozen_is_taken_away_from_what_was_chosen() -> None:
    found = learning(applied("bert", train="all", freeze=["embedding", "first-3"]))
    parts = ("bert.embeddings.LayerNorm", "bert.encoder.layer.3", "bert.pooler", "classifier")
    assert found == [name for name, _ in tiny("bert").named_parameters() if name.startswith(parts)]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"train": "head", "freeze": "first-1"}, "method.freeze: first-1 is no part of what method.train chose"),
        ({"train": "last-1", "freeze": "encoder"}, "method.freeze: takes away all that method.train chose"),
        ({"train": "head", "rates": {"embedding": 0.1}}, "method.rates: embedding does not learn"),
        ({"train": "head", "rates": {"emb": 0.1}}, "method.rates: no layer is called emb"),
        ({"surgical": 2}, "method.surgical: blocks are chosen from a run's rows"),
    ],
)
def test_a_setting_that_would_be_ignored_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(MethodError, match=told):
        applied("bert", **settings)


def test_blocks_at_a_time_need_an_epoch() -> None:
    with pytest.raises(ValueError, match="unfreeze_every must say when"):
        Partial(unfreeze_blocks=2)


@pytest.mark.parametrize("setting", [{"layer_decay": 0.9}, {"unfreeze_every": 1}])
def test_levels_of_a_model_without_blocks_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(MethodError, match=rf"method.{next(iter(setting))}: needs the model's blocks; XLNet"):
        applied("xlnet", train="logits_proj", **setting)


LEVELS: list[tuple[str, str, dict[str, int]]] = [
    ("bert", "sequence-classification", {
        "bert.embeddings.word_embeddings.weight": 0, "bert.embeddings.LayerNorm.weight": 0,
        "bert.encoder.layer.0.output.dense.bias": 1, "bert.encoder.layer.3.output.dense.bias": 4,
        "bert.pooler.dense.weight": 5, "classifier.weight": 5,
    }),
    ("gpt2", "sequence-classification", {"transformer.wpe.weight": 0, "transformer.ln_f.weight": 5, "score.weight": 5}),
    ("llama", "lm", {"model.embed_tokens.weight": 0, "model.norm.weight": 5, "lm_head.weight": 5}),
    ("opt", "lm", {"model.decoder.embed_positions.weight": 0, "model.decoder.final_layer_norm.weight": 5}),
    ("electra", "base", {"embeddings_project.weight": 0, "encoder.layer.3.output.dense.weight": 4}),
    ("albert", "base", {"encoder.embedding_hidden_mapping_in.weight": 0, "pooler.weight": 2}),
    ("bart", "lm", {
        "model.shared.weight": 0, "model.encoder.layernorm_embedding.weight": 0,
        "model.decoder.layernorm_embedding.weight": 0, "model.encoder.layers.3.fc1.weight": 4,
        "model.decoder.layers.0.fc1.weight": 5, "model.decoder.layers.3.fc1.weight": 8,
    }),
    ("t5", "lm", {
        "shared.weight": 0, "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": 1,
        "encoder.final_layer_norm.weight": 4, "decoder.final_layer_norm.weight": 9,
    }),
    ("whisper", "lm", {"model.encoder.conv1.weight": 0, "model.encoder.layer_norm.weight": 4}),
]  # fmt: skip


@pytest.mark.parametrize(("family", "head", "expected"), LEVELS, ids=[f"{each[0]}" for each in LEVELS])
def test_levels_go_from_the_embeddings_to_the_head(family: str, head: str, expected: dict[str, int]) -> None:
    found = levels(tiny(family, head=head), where="")
    assert {name: found[name] for name in expected} == expected


def test_each_block_has_the_decay_times_the_rate_of_the_one_above() -> None:
    found = rates(applied("bert", train="all"), train="all", layer_decay=0.5)
    assert found["classifier.weight"] == found["bert.pooler.dense.bias"] == 1
    of_blocks = [found[f"bert.encoder.layer.{number}.output.dense.weight"] for number in range(4)]
    assert of_blocks == [0.0625, 0.125, 0.25, 0.5]
    assert found["bert.embeddings.word_embeddings.weight"] == 0.03125


def test_factors_of_parts_multiply() -> None:
    said = {"train": "all", "rates": {"head": 10.0, "last-1": 0.5, "norm": 0.1}}
    found = rates(applied("bert", **said), **said)
    assert found["classifier.weight"] == 10
    assert found["bert.encoder.layer.3.output.dense.weight"] == 0.5
    assert found["bert.encoder.layer.3.output.LayerNorm.weight"] == pytest.approx(0.05)
    assert found["bert.encoder.layer.2.output.dense.weight"] == 1


def recipe_of(folder: Path, *overrides: str, family: str = "bert") -> recipes.Recipe:
    """Sixty rows, fewer than a probe takes, so that it takes them all."""
    base, rows = tiny_model(folder / "base", family, initializer_range=0.2), write_rows(folder / "rows.csv", 60)
    said = [f"model={base}", f"data.train={rows}", "task=text-classification", "training.device=cpu", *overrides]
    return recipes.parse("", [*said, "training.precision=fp32"])


def built(folder: Path, *overrides: str, family: str = "bert") -> Built:
    recipe = recipe_of(folder, *overrides, family=family)
    return build(recipe, read_rows(recipe))


def test_surgery_chooses_the_blocks_of_the_largest_relative_gradient_and_says_which(tmp_path: Path) -> None:
    asked = recipe_of(tmp_path, "method=partial", "method.surgical=2", "method.train=head", "data.validation=null")
    rows = read_rows(asked)
    made = build(asked, rows)
    plain = build(asked.model_copy(update={"method": Partial(train=("all",))}), rows)
    task, model = plain.recipe.task, plain.model.eval()
    prepared = task.prepare(rows.splits.train, plain.processor)
    task.loss(model, task.collate(prepared[:], plain.processor)).total.sum().backward()
    ratios = {}
    for number, block in enumerate(read(model).blocks):
        gradient = torch.cat([p.grad.flatten() for p in block.module.parameters() if p.grad is not None])
        ratios[number] = (gradient.norm() / torch.cat([p.flatten() for p in block.module.parameters()]).norm()).item()
    best = sorted(sorted(ratios, key=lambda number: ratios[number])[-2:])
    method = made.recipe.method
    assert isinstance(method, Partial)
    assert method.train == (*(f"blocks.{number}" for number in best), "head")
    assert method.surgical is None
    assert any(note.startswith(f"method.surgical: blocks.{best[0]}, blocks.{best[1]} learn") for note in made.notes)
    assert recipes.parse(recipes.dump(made.recipe)).method == method


def test_a_probe_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    probed = built(tmp_path, "method=partial", "method.surgical=1").model
    named = {f"bert.encoder.layer.{number}" for number in range(4)} | {"classifier"}
    assert all(p.grad is None for p in probed.parameters())
    assert len({part for part in named if any(n.startswith(f"{part}.") for n in learning(probed))}) == 2
    plain = built(tmp_path, "method=partial").model
    assert probed.training == plain.training
    assert all(torch.equal(p, plain.get_parameter(name)) for name, p in probed.named_parameters())


@pytest.mark.parametrize(
    ("overrides", "chosen"),
    [
        (["method.train=[last-3, head]"], ("blocks.0", "last-3", "head")),
        (["method.train=[norm, head]", "method.freeze=first-3"], ("blocks.3", "norm", "head")),
    ],
)
def test_surgery_chooses_among_what_is_left(overrides: list[str], chosen: tuple[str, ...], tmp_path: Path) -> None:
    method = built(tmp_path, "method=partial", "method.surgical=1", *overrides).recipe.method
    assert isinstance(method, Partial)
    assert method.train == chosen


def test_blocks_of_two_stacks_are_told_apart(tmp_path: Path) -> None:
    method = built(tmp_path, "method=partial", "method.surgical=8", family="t5").recipe.method
    assert isinstance(method, Partial)
    assert method.train == (*(f"{kind}.blocks.{n}" for kind in ("encoder", "decoder") for n in range(4)), "head")


@pytest.mark.parametrize(
    ("family", "overrides", "told"),
    [
        ("bert", ["method.surgical=5"], "5 blocks are to be chosen, but train and freeze leave 4 of this model's 4"),
        (
            "bert",
            ["method.surgical=2", "method.train=last-3"],
            "2 blocks are to be chosen, but train and freeze leave 1 of",
        ),
        ("albert", ["method.surgical=1"], "this model's layers share their weights"),
    ],
)
def test_surgery_without_a_choice_is_refused(family: str, overrides: list[str], told: str, tmp_path: Path) -> None:
    with pytest.raises(MethodError, match=f"method.surgical: {told}"):
        built(tmp_path, "method=partial", *overrides, family=family)


def test_what_is_new_and_does_not_learn_is_told() -> None:
    model = tiny("bert")
    remember_new(model, ["classifier.weight", "classifier.bias"])
    facts = Facts(model=model)
    Partial(train=("last-1",)).resolve(facts)
    assert facts.notes == ["method.train: classifier.weight and 1 more are new, and stay random unless they learn too"]
    Partial(train=("last-1", "head")).resolve(facts)
    assert len(facts.notes) == 1


@pytest.mark.parametrize("method", ["surgical: 2", "unfreeze_every: 1, train: all", "layer_decay: 0.5, train: all"])
def test_what_a_run_finds_out_is_planned_without_rows_or_weights(method: str, tmp_path: Path) -> None:
    peaks = []
    for each in (method, "train: [first-2, head]" if "surgical" in method else "train: all"):
        recipe = recipe_of(tmp_path, f"method={{kind: partial, {each}}}", "training.batch_size=4")
        with ready(subject_of(recipe, length=16)) as made:
            peaks.append(stages.training(made).peak)
    assert peaks[0] == pytest.approx(peaks[1], rel=0.01)
