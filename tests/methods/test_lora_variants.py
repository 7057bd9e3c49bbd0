"""DoRA, PiSSA, rsLoRA, ranks, embeddings and whole modules: PEFT and we read each other's folders, and fold alike."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn

from luthier.errors import MethodError
from luthier.methods._low_rank import Update
from luthier.methods._parts import parts_of
from luthier.methods._starts import _principal
from luthier.methods.lora import Lora
from tests.methods.learnt import FAMILIES, assert_alike, by_peft, fresh, learnt, loaded, logits, read_by_peft

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's own

OURS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rank-stabilized": {"rank_stabilized": True},
    "dora": {"dora": True},
    "pissa": {"start": "pissa"},
    "pissa-rank-stabilized-dora": {"start": "pissa", "rank_stabilized": True, "dora": True},
    "ranks": {"ranks": {"attention": 2, "attention.output": 6}, "alphas": {"feed-forward": 3.0}},
    "pissa-ranks": {"start": "pissa", "ranks": {"attention": 2}, "alphas": {"feed-forward": 3.0}},
    "embedding": {"targets": ("all-linear", "embedding"), "ranks": {"embedding": 3}},
    "embedding-dora": {"targets": ("embedding", "attention"), "dora": True},
    "also-train": {"also_train": ("norm",)},
}
QUERY = {"bert": "query", "gpt2": "c_attn", "llama": "q_proj", "t5": "q"}
OUT = {"bert": "output.dense", "gpt2": "mlp.c_proj", "llama": "down_proj", "t5": "wo"}
WORDS = {"bert": "word_embeddings", "gpt2": "wte", "llama": "embed_tokens", "t5": "embed_tokens"}
NORM = {"bert": "LayerNorm", "gpt2": "ln_1", "llama": "input_layernorm", "t5": "layer_norm"}
THEIRS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rank-stabilized": {"use_rslora": True},
    "dora": {"use_dora": True},
    "pissa": {"init_lora_weights": "pissa"},
    "pissa-dora": {"init_lora_weights": "pissa", "use_dora": True},
    "ranks": {"rank_pattern": {"QUERY": 2}, "alpha_pattern": {r".*\.0\..*": 3, "OUT": 5}},
    "embedding": {"target_modules": ["WORDS", "QUERY"]},
    "embedding-dora": {"target_modules": ["WORDS", "QUERY"], "use_dora": True},
    "also-train": {"modules_to_save": ["NORM"]},
}
every_family = pytest.mark.parametrize("family", FAMILIES)


def named(family: str, said: Any) -> Any:
    """PEFT's settings with a family's own names."""
    if isinstance(said, dict):
        return {named(family, key): named(family, value) for key, value in said.items()}
    if isinstance(said, list):
        return [named(family, each) for each in said]
    names = {"QUERY": QUERY, "OUT": OUT, "WORDS": WORDS, "NORM": NORM}
    return names[said][family] if said in names else said


def made_by_peft(family: str, **said: Any) -> Any:
    usual = {"r": 4, "lora_alpha": 6, "target_modules": ["QUERY", "OUT"], "fan_in_fan_out": family == "gpt2"}
    return by_peft(family, peft.LoraConfig, **named(family, usual | said))


@every_family
@pytest.mark.parametrize("variant", OURS)
def test_peft_reads_what_we_wrote(variant: str, family: str, tmp_path: Path) -> None:
    method = Lora.model_validate({"rank": 4, "alpha": 6.0, **OURS[variant]})
    ours = learnt(family, method)
    method.save(ours, tmp_path)
    assert_alike(read_by_peft(family, tmp_path), ours)
    assert not torch.allclose(logits(ours), logits(fresh(family)), atol=1e-2)


@every_family
@pytest.mark.parametrize("variant", OURS)
def test_our_folder_opens_with_its_method_and_with_what_is_read_from_it(
    variant: str, family: str, tmp_path: Path
) -> None:
    method = Lora.model_validate({"rank": 4, "alpha": 6.0, **OURS[variant]})
    ours = learnt(family, method)
    method.save(ours, tmp_path)
    assert torch.equal(logits(loaded(family, method, tmp_path)), logits(ours))
    assert_alike(loaded(family, Lora.read(tmp_path), tmp_path), ours)


@every_family
@pytest.mark.parametrize("variant", THEIRS)
def test_we_read_what_peft_wrote(variant: str, family: str, tmp_path: Path) -> None:
    theirs = made_by_peft(family, **THEIRS[variant])
    theirs.save_pretrained(tmp_path)
    method = Lora.read(tmp_path)
    ours = loaded(family, method, tmp_path)
    assert_alike(ours, theirs)
    if "embedding" not in variant or family != "t5":  # a T5 that writes ties its tables to its head
        method.fold(ours)
        assert_alike(ours, theirs)


@every_family
@pytest.mark.parametrize("variant", OURS)
def test_folded_weights_give_the_same_logits(variant: str, family: str) -> None:
    method = Lora.model_validate({"rank": 4, "alpha": 6.0, **OURS[variant]})
    ours = learnt(family, method)
    before = logits(ours)
    if "embedding" in variant and family == "t5":
        with pytest.raises(MethodError, match="share one weight"):
            method.fold(ours)
        assert torch.equal(logits(ours), before)
        return
    method.fold(ours)
    torch.testing.assert_close(logits(ours), before, rtol=0, atol=1e-5)
    assert set(ours.state_dict()) == set(fresh(family).state_dict())


@every_family
@pytest.mark.parametrize("variant", sorted(OURS.keys() - {"also-train"}))
def test_every_variant_starts_as_the_base_and_switches_off_to_it(variant: str, family: str) -> None:
    method, model = Lora.model_validate({"rank": 4, **OURS[variant]}), fresh(family)
    base = logits(model)
    method.apply(model, generator=torch.Generator().manual_seed(0))
    assert torch.equal(logits(model), base)
    body = learnt(family, method)
    head = [p for name, p in fresh(family).named_parameters() if name.startswith(("classifier", "score"))]
    with torch.no_grad():
        for learnt_one, own in zip(
            [p for name, p in body.named_parameters() if name.startswith(("classifier", "score"))], head, strict=True
        ):
            learnt_one.copy_(own)
    with method.off(body):
        assert torch.equal(logits(body), base)
    assert not torch.equal(logits(body), base)


@every_family
def test_a_pissa_that_peft_converted_to_lora_is_read(family: str, tmp_path: Path) -> None:
    usual = {"r": 4, "lora_alpha": 6, "target_modules": ["QUERY", "OUT"], "fan_in_fan_out": family == "gpt2"}
    config = {**named(family, usual), "init_lora_weights": "pissa"}
    # Of a classifier PEFT drops the head when it converts.
    model = peft.get_peft_model(fresh(family, head="lm"), peft.LoraConfig(**config))
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(tmp_path / "initial")
    model.peft_config["default"].init_lora_weights = "pissa"
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.mul_(1.1).add_(0.01)
    after = logits(model)
    model.save_pretrained(tmp_path / "learnt", path_initial_model_for_weight_conversion=str(tmp_path / "initial"))
    method = Lora.read(tmp_path / "learnt")
    assert (method.rank, method.start) == (8, "zero")
    torch.testing.assert_close(logits(loaded(family, method, tmp_path / "learnt", head="lm")), after, rtol=0, atol=1e-5)


@every_family
def test_pissa_begins_with_what_pefts_begins_with(family: str) -> None:
    """Singular vectors have no sign of their own, so it is the product that is compared."""
    usual = {"r": 4, "lora_alpha": 6, "target_modules": ["QUERY"], "fan_in_fan_out": family == "gpt2"}
    config = peft.LoraConfig(**named(family, usual), init_lora_weights="pissa")
    theirs = peft.get_peft_model(fresh(family), config)
    ours = fresh(family)
    Lora(rank=4, alpha=6.0, targets=(QUERY[family],), start="pissa").apply(ours, generator=torch.Generator())
    products = [m.lora_B.default.weight @ m.lora_A.default.weight for m in theirs.modules() if hasattr(m, "lora_A")]
    assert len(products) == len(parts_of(ours, Update)) > 0
    for product, (_, update) in zip(products, parts_of(ours, Update), strict=True):
        torch.testing.assert_close(update.B @ update.A, product, rtol=0, atol=1e-6)
        torch.testing.assert_close(update.A @ update.A.T, update.B.T @ update.B, rtol=0, atol=1e-6)
        assert update.weight().abs().max() < 1e-7


def test_wide_maps_are_searched_for_their_principal_part_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = (1100, 1200), (1100, 40), (40, 1200)
    weight, strong, few = (torch.randn(shape, generator=generator) for shape in shapes)
    weight += 2 * strong @ few
    left, values, right = _principal(weight, 16, generator)
    whole = torch.linalg.svd(weight, full_matrices=False)
    torch.testing.assert_close(values, whole.S[:16], rtol=2e-3, atol=0)
    left_over = (weight - (left * values) @ right).norm()
    assert left_over < 1.0001 * whole.S[16:].norm()


def test_the_gradient_of_dora_is_pefts() -> None:
    """The norm counts as a constant."""
    targets = {"target_modules": ["query", "output.dense"], "r": 4, "lora_alpha": 6, "use_dora": True}
    theirs = by_peft("bert", peft.LoraConfig, **targets)
    ours = fresh("bert")
    Lora(rank=4, alpha=6.0, targets=("query", "output.dense"), dora=True).apply(ours, generator=torch.Generator())
    layers = [m for m in theirs.modules() if hasattr(m, "lora_magnitude_vector") and len(m.lora_A)]
    with torch.no_grad():
        for layer, (_, update) in zip(layers, parts_of(ours, Update), strict=True):
            update.A.copy_(layer.lora_A.default.weight)
            update.B.copy_(layer.lora_B.default.weight)
            update.magnitude.m.copy_(layer.lora_magnitude_vector.default.weight)
        ours.classifier.load_state_dict(theirs.base_model.model.classifier.modules_to_save.default.state_dict())
    for model in (ours, theirs):
        inputs = torch.arange(3, 23).view(2, 10)
        model.eval()(input_ids=inputs).logits.square().sum().backward()
    for layer, (_, update) in zip(layers, parts_of(ours, Update), strict=True):
        for mine, its in (
            (update.A, layer.lora_A.default.weight),
            (update.B, layer.lora_B.default.weight),
            (update.magnitude.m, layer.lora_magnitude_vector.default.weight),
        ):
            torch.testing.assert_close(mine.grad, its.grad, rtol=1e-4, atol=1e-6)


def test_a_tied_table_that_learns_whole_takes_its_head_along(tmp_path: Path) -> None:
    method = Lora(rank=4, also_train=("wte",))
    ours = learnt("gpt2", method, head="lm")
    assert ours.lm_head.weight is ours.transformer.wte.weight
    assert ours.lm_head.weight.requires_grad
    method.save(ours, tmp_path)
    assert_alike(read_by_peft("gpt2", tmp_path, head="lm"), ours)
    assert torch.equal(logits(loaded("gpt2", method, tmp_path, head="lm")), logits(ours))


def test_a_tied_table_is_not_folded_and_peft_reads_its_update(tmp_path: Path) -> None:
    method = Lora(rank=4, targets=("embedding",))
    ours = learnt("gpt2", method, head="lm")
    with pytest.raises(MethodError, match=r"transformer\.wte and lm_head share one weight"):
        method.fold(ours)
    method.save(ours, tmp_path)
    assert_alike(read_by_peft("gpt2", tmp_path, head="lm"), ours)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ranks": {"attenton": 4}}, r"method\.ranks: no layer is called attenton"),
        ({"ranks": {"feed-forward": 4}, "targets": ("attention",)}, r"method\.ranks: feed-forward selects none of"),
        ({"alphas": {"query_proj": 4.0}}, r"method\.alphas: no layer is called query_proj"),
        ({"also_train": ("attention",)}, r"method\.also_train: .*is one of method\.targets"),
        ({"also_train": ("bias",)}, r"method\.also_train: bias selects .* in part"),
        ({"also_train": ("norms",)}, r"method\.also_train: no layer is called norms"),
        ({"start": "pissa", "rank": 33}, r"method\.rank: start=pissa takes the singular vectors of each layer"),
        ({"targets": ("position_embeddings",)}, r"selects no linear layer and no table of words"),
    ],
)
def test_what_has_no_meaning_is_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        Lora.model_validate(settings).apply(fresh("bert"), generator=torch.Generator())


def test_the_last_selector_that_means_a_layer_says_its_rank() -> None:
    model = fresh("bert")
    Lora(ranks={"attention": 2, "query": 3}, alphas={"value": 8.0}).apply(model, generator=torch.Generator())
    attention = model.bert.encoder.layer[0].attention.self
    ranks = [len(layer.lora.A) for layer in (attention.query, attention.key, model.bert.encoder.layer[0].output.dense)]
    assert ranks == [3, 2, 16]
    assert (attention.value.lora.scale, attention.key.lora.scale) == (4.0, 16.0)


def test_scaled_tables_scale_their_update(tmp_path: Path) -> None:
    method = Lora(rank=4, targets=("embedding",))
    ours = learnt("gemma3_text", method, head="lm")
    assert isinstance(ours.model.embed_tokens, nn.Embedding)
    assert ours.model.embed_tokens.embed_scale != 1
    method.save(ours, tmp_path)
    assert_alike(read_by_peft("gemma3_text", tmp_path, head="lm"), ours)
