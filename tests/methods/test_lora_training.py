"""What of LoRA is no file: LoRA+'s rates, several updates as one, and the arithmetic of a bf16 model."""

import peft
import pytest
import torch

from luthier.component import Facts
from luthier.errors import MethodError
from luthier.methods._low_rank import Magnitude, Update
from luthier.methods._mixing import mixed
from luthier.methods._parts import hang, parts_of, take_down
from luthier.methods.lora import Lora
from luthier.models.arithmetic import computing
from luthier.models.weights import map_sizes, plain_weight, set_plain_weight
from luthier.recipe import dump, read
from luthier.training.loop import TrainState
from luthier.training.settings import Training
from tests.methods.learnt import assert_alike, fresh, learnt, logits, read_by_peft, shake
from tests.tiny import tiny

pytestmark = pytest.mark.filterwarnings("ignore")  # PEFT's own


def test_b_learns_faster_than_a_by_the_ratio() -> None:
    """Hayou et al. 2024; PEFT's create_loraplus_optimizer sets the same rates."""
    model, method = fresh("bert"), Lora(rank=4, learning_rate_ratio=16.0, targets=("all-linear", "embedding"))
    method.apply(model, generator=torch.Generator())
    settings = Training(steps=1, learning_rate=1e-3, device="cpu", precision="fp32")
    optimizer = TrainState.start(model, method, settings, 1).optimizer
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len(rates) == sum(p.requires_grad for p in model.parameters())
    for _, update in parts_of(model, Update):
        assert rates[id(update.B)] == pytest.approx(16 * rates[id(update.A)])
    assert rates[id(model.classifier.weight)] == rates[id(parts_of(model, Update)[0][1].A)]


def test_without_a_ratio_all_learn_alike() -> None:
    model, method = fresh("bert"), Lora(rank=4)
    method.apply(model, generator=torch.Generator())
    assert {group.learning_rate_scale for group in method.groups(model)} == {1.0}


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
@pytest.mark.parametrize("start", ["zero", "pissa"])
def test_several_updates_are_one_as_pefts_cat_has_it(family: str, start: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    methods = [Lora(rank=4, alpha=6.0, start=start), Lora(rank=2, alpha=5.0, rank_stabilized=True)]
    weights = [0.7, -0.4]
    for number, method in enumerate(methods):
        model = fresh(family, head="lm")  # where a head learns whole, PEFT refuses
        method.apply(model, generator=torch.Generator().manual_seed(number))
        for index, (_, update) in enumerate(parts_of(model, Update)):
            shake(update, seed=100 * number + index)
        method.save(model, tmp_path / str(number))
        if number == 0:
            ours = model
        else:
            pairs = list(zip(parts_of(ours, Update), parts_of(model, Update), strict=True))
    for (layer, one), (_, other) in pairs:
        take_down(layer, one)
        sum_of_both = mixed([one, other], weights)
        assert len(sum_of_both.A) == len(one.factors()[0]) + 2
        hang(layer, sum_of_both)
    theirs = read_by_peft(family, tmp_path / "0", head="lm")
    theirs.load_adapter(tmp_path / "1", adapter_name="other")
    theirs.add_weighted_adapter(["default", "other"], weights, "both", combination_type="cat")
    theirs.set_adapter("both")
    assert_alike(theirs, ours)


def test_weight_decomposed_updates_are_not_added_up() -> None:
    updates = [update for _, update in parts_of(learnt("bert", Lora(rank=4, dora=True)), Update)][:2]
    with pytest.raises(MethodError, match=r"method\.dora: weight-decomposed updates cannot be added up"):
        mixed(updates, [0.5, 0.5])


def test_a_magnitude_keeps_its_precision_where_a_model_computes_in_bf16() -> None:
    model = fresh("bert")
    base = logits(model)
    Lora(rank=4, dora=True).apply(model, generator=torch.Generator())
    magnitude = next(m for m in model.modules() if isinstance(m, Magnitude))
    with computing(model.eval(), "bf16"):
        assert magnitude.m.dtype == torch.float32
        in_bf16 = logits(model)
    torch.testing.assert_close(in_bf16.float(), base, rtol=0, atol=2e-2)


def test_the_norm_of_a_decomposed_map_is_that_of_the_whole_matrix() -> None:
    model = learnt("bert", Lora(rank=4, dora=True, start="pissa"))
    for layer, update in parts_of(model, Update):
        expected = (plain_weight(layer) + update.weight()).norm(dim=1)
        torch.testing.assert_close(update.magnitude.norm(layer, update), expected)


def test_plain_weights_are_maps_whatever_their_layout() -> None:
    model = tiny("gpt2", head="lm")
    layer, table = model.transformer.h[0].attn.c_attn, model.transformer.wte
    assert map_sizes(layer) == (32, 96)
    assert map_sizes(table) == (64, 32)
    assert plain_weight(layer).shape == (96, 32)
    x = torch.randn(5, 32)
    torch.testing.assert_close(layer(x), x @ plain_weight(layer).T + layer.bias)
    torch.testing.assert_close(table(torch.arange(64)).T, plain_weight(table))
    weight = layer.weight
    set_plain_weight(layer, 2 * plain_weight(layer))
    assert layer.weight is weight
    torch.testing.assert_close(layer(x), 2 * (layer(x) - layer.bias) / 2 + layer.bias)


def test_a_bf16_base_is_read_in_fp32_and_keeps_its_type() -> None:
    layer = torch.nn.Linear(4, 3).bfloat16()
    assert plain_weight(layer).dtype == torch.float32
    set_plain_weight(layer, plain_weight(layer) + 1)
    assert layer.weight.dtype == torch.bfloat16


def test_every_setting_goes_through_a_recipe(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "model: {name: some/model}\ndata: {train: a.csv}\ntask: {kind: text-classification}\n"
        "method: {kind: lora, dora: true, start: pissa, learning_rate_ratio: 4, add_tokens: [<a>], also_train: norm,"
        " ranks: {attention: 4, feed-forward: 16}, alphas: {re:query: 8}, targets: [all-linear, embedding]}\n"
    )
    recipe = read(path)
    assert recipe.method == Lora(
        dora=True, start="pissa", learning_rate_ratio=4.0, add_tokens=("<a>",), also_train=("norm",),
        ranks={"attention": 4, "feed-forward": 16}, alphas={"re:query": 8.0}, targets=("all-linear", "embedding"),
    )  # fmt: skip
    again = tmp_path / "again.yaml"
    again.write_text(dump(recipe))
    assert read(again).method == recipe.method


def test_switched_off_is_refused_where_the_base_learns() -> None:
    for settings, named in (({"bias": "all"}, "bias=all"), ({"also_train": ("norm",)}, "also_train=norm")):
        method = Lora.model_validate(settings)
        with pytest.raises(MethodError, match=named), method.off(learnt("bert", method)):
            pass


def test_pefts_reference_of_the_rates_is_the_same() -> None:
    """The ratio is between the factors, and everything else learns as A does."""
    from peft.optimizers import create_loraplus_optimizer

    model = peft.get_peft_model(fresh("bert"), peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query"]))
    optimizer = create_loraplus_optimizer(model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16.0)
    named = {id(p): name for name, p in model.named_parameters()}
    rates = {named[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rate for name, rate in rates.items() if "lora_B" in name} == {16e-3}
    assert {rate for name, rate in rates.items() if "lora_A" in name} == {1e-3}
    assert Lora().learning_rate(Facts(num_parameters=10**9)) == 2e-4
