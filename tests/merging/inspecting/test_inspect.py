"""A look at models before a merge: figures against plain sums over whole tensors, places, and what is said of them."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.inspecting.inspect import inspect
from luthier.merging.inspecting.page import page
from luthier.merging.inspecting.regions import OUTSIDE, regions
from luthier.merging.inspecting.result import Inspection, Line
from luthier.merging.inspecting.shown import show
from luthier.merging.parents.checkpoint import Folder, States
from tests.tiny import tiny

SHAPES = {
    "embed.weight": (9, 6),
    "layers.0.q_proj.weight": (6, 6),
    "layers.0.norm.weight": (6,),
    "layers.1.q_proj.weight": (6, 6),
    "layers.1.norm.weight": (6,),
}


def states(seed: int, *, scale: float = 1.0, like: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Random tensors, or such steps away from others."""
    chance = torch.Generator().manual_seed(seed)
    drawn = {name: scale * torch.randn(shape, generator=chance) for name, shape in SHAPES.items()}
    return drawn if like is None else {name: like[name] + drawn[name] for name in drawn}


BASE = states(0)


def looked(*models: Mapping[str, Tensor], part_elements: int = 2**22, density: float = 0.2) -> Inspection:
    """At models on the base, which are called a, b, ..."""
    named = [States(model, "abc"[number]) for number, model in enumerate(models)]
    return inspect(named, base=States(BASE, "base"), part_elements=part_elements, density=density)


def flat(model: Mapping[str, Tensor], names: list[str] | None = None) -> Tensor:
    """What it learnt, as one vector."""
    return torch.cat([(model[name].double() - BASE[name].double()).reshape(-1) for name in names or list(SHAPES)])


def kept(delta: Tensor, share: float) -> Tensor:
    """Which are the largest."""
    return delta.abs() >= delta.abs().sort(descending=True).values[math.ceil(share * delta.numel()) - 1]


@settings(max_examples=20)
@given(seed=st.integers(1, 50), scale=st.sampled_from([1e-3, 0.1, 1.0]), density=st.sampled_from([0.1, 0.2, 0.5, 1.0]))
def test_figures_of_the_whole_are_those_of_plain_sums(seed: int, scale: float, density: float) -> None:
    a, b = (states(2 * seed + n, scale=scale * (n + 1), like=BASE) for n in (0, 1))
    whole = looked(a, b, density=density).whole
    first, second = flat(a), flat(b)
    assert whole.norms == pytest.approx((float(first.norm()), float(second.norm())), rel=1e-4)
    assert whole.cosines[0][1] == pytest.approx(float(first @ second / first.norm() / second.norm()), abs=1e-4)
    assert whole.relative[0] == pytest.approx(
        float(first.norm() / torch.cat([*map(torch.ravel, BASE.values())]).norm()), rel=1e-4
    )
    changed = (first != 0) & (second != 0)  # a step may be too small for the base's number to change
    assert whole.conflicts == pytest.approx(float((first * second < 0)[changed].double().mean()))
    assert whole.trimmed == pytest.approx((1 - float(kept(first, density).double().mean()),) * 2, abs=2 / first.numel())


def test_conflicts_of_what_counts_are_those_among_each_models_largest() -> None:
    a, b = states(1, like=BASE), states(2, like=BASE)
    first, second = flat(a), flat(b)
    both = kept(first, 0.2) & kept(second, 0.2)
    assert both.any()
    wanted = float((first * second < 0)[both].double().mean())
    assert looked(a, b).whole.kept_conflicts == pytest.approx(wanted)


def test_the_largest_are_sought_in_the_whole_model() -> None:
    a = {**BASE, "layers.1.q_proj.weight": BASE["layers.1.q_proj.weight"] + 1}
    trimmed = {line.name: line.trimmed[0] for line in looked(a, density=0.3).blocks}
    assert trimmed == {OUTSIDE: 1.0, "layers.0": 1.0, "layers.1": pytest.approx(6 / 42)}  # only the norm is unchanged


def test_three_models_conflict_where_any_two_do() -> None:
    up, down = ({**BASE, "embed.weight": BASE["embed.weight"] + step} for step in (1.0, -1.0))
    assert looked(up, up, down).whole.conflicts == 1
    assert looked(up, up, up).whole.conflicts == 0
    assert looked(up, BASE, down).whole.conflicts == 1


@pytest.mark.parametrize("part_elements", [1, 7, 13])
def test_parts_change_nothing(part_elements: int) -> None:
    a, b = states(1, like=BASE), states(2, like=BASE)
    whole, parts = looked(a, b), looked(a, b, part_elements=part_elements)
    assert [line.conflicts for line in parts.lines] == [line.conflicts for line in whole.lines]
    assert [line.trimmed for line in parts.lines] == [line.trimmed for line in whole.lines]
    for one, other in zip(whole.lines, parts.lines, strict=True):
        assert one.norms == pytest.approx(other.norms, rel=1e-6)


def test_no_tensor_is_kept_once_it_was_read() -> None:
    class Watched(States):
        num_reads = 0

        def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
            type(self).num_reads += 1
            return super().read(name, start, stop)

    inspect([Watched(states(1, like=BASE), "a")], base=States(BASE, "base"))
    assert Watched.num_reads == 2 * len(SHAPES)  # products, then signs: what was read anew was not held in between


def test_squares_of_blocks_and_of_roles_add_up_to_the_whole() -> None:
    found = looked(states(1, like=BASE), states(2, like=BASE))

    def squares(lines: tuple[Line, ...]) -> float:
        return sum(line.norms[0] ** 2 for line in lines)

    assert squares(found.blocks) == pytest.approx(squares((found.whole,)))
    assert squares(found.roles) == pytest.approx(squares((found.whole,)))
    assert squares(found.lines) == pytest.approx(squares((found.whole,)))
    assert {line.role for line in found.roles} == {"embedding", "attention.query", "norm"}


@pytest.mark.parametrize("family", ["bert", "modernbert", "gpt2", "llama", "bart", "t5"])
def test_roles_are_read_by_anatomy_whatever_stands_before_the_names(family: str) -> None:
    from luthier.models.anatomy import read

    model = tiny(family, head="base")
    by_module = {module: role for role, modules in read(model).roles.items() for module in modules}
    wanted = {name: by_module[name.rpartition(".")[0]] for name, _ in model.named_parameters()}
    for prefix in ("", "model."):
        found = regions([f"{prefix}{name}" for name in wanted], model.config.to_dict())
        assert {name.removeprefix(prefix): region.role for name, region in found.items()} == wanted


def test_a_configuration_of_nobodys_leaves_roles_to_the_names() -> None:
    found = regions(list(SHAPES), {"model_type": "of-another-library"})
    assert found["layers.1.q_proj.weight"].role == "attention.query"
    assert found["layers.1.q_proj.weight"].block == "layers.1"
    assert found["embed.weight"].block == OUTSIDE


def test_a_head_is_told_from_the_body() -> None:
    model = tiny("bert")
    found = regions(list(model.state_dict()), model.config.to_dict())
    assert {name for name, region in found.items() if region.role == "head"} == {"classifier.weight", "classifier.bias"}


def test_a_body_under_a_head_is_compared_with_the_bare_body(tmp_path: Path) -> None:
    base, child = tiny("bert", head="base"), tiny("bert")
    with torch.no_grad():
        child.bert.encoder.layer[2].output.dense.weight += 0.01
    base.save_pretrained(tmp_path / "base")
    child.save_pretrained(tmp_path / "child")
    found = inspect([Folder(tmp_path / "child", "child")], base=Folder(tmp_path / "base", "base"))
    changed = [line.name for line in found.lines if line.norms[0] > 0]
    assert changed == ["encoder.layer.2 feed-forward.out"]
    assert not found.left_out


def test_models_that_went_apart_far_are_warned_of() -> None:
    near, far = states(1, scale=1e-3, like=BASE), states(2, scale=0.1, like=BASE)
    [told] = [each for each in looked(near, far).findings if "times as far" in each]
    assert told.startswith("b went")
    assert "as a," in told
    assert not [each for each in looked(far, states(3, scale=0.1, like=BASE)).findings if "times as far" in each]


def test_a_model_of_another_base_is_warned_of() -> None:
    stranger, child = states(7), states(8, scale=0.01, like=BASE)
    told = [each for each in looked(child, stranger).findings if "come from" in each]
    assert len(told) == 1
    assert told[0].startswith("b does not seem to come from base")


def test_a_model_that_learnt_nothing_and_equal_models_are_warned_of() -> None:
    child = states(1, scale=0.01, like=BASE)
    assert [each for each in looked(child, BASE).findings if each.startswith("b is the base itself")]
    assert [each for each in looked(child, child).findings if "a and b are the same model" in each]
    assert not [each for each in looked(child, states(2, scale=0.01, like=BASE)).findings if "the same" in each]


def test_models_that_learnt_against_each_other_are_warned_of() -> None:
    step = states(1, scale=0.01)
    there = {name: BASE[name] + step[name] for name in BASE}
    back = {name: BASE[name] - step[name] for name in BASE}
    told = " ".join(looked(there, back).findings)
    assert "learnt against each other (cosine -1.000)" in told
    assert "signs differ in a large part of what counts" in told


def test_unrelated_signs_are_warned_of_where_much_was_learnt() -> None:
    def is_warned(scale: float) -> bool:
        return "signs differ" in " ".join(looked(*(states(n, scale=scale, like=BASE) for n in (1, 2))).findings)

    assert is_warned(0.3)
    assert not is_warned(0.01)


def test_signs_that_agree_are_not_warned_of() -> None:
    step = states(1, scale=0.01)
    once, more = ({name: BASE[name] + share * step[name] for name in BASE} for share in (1, 1.5))
    assert looked(once, more).findings == ()


def test_weights_that_are_not_finite_are_warned_of_and_are_no_json_of_python_alone() -> None:
    broken = {**BASE, "embed.weight": torch.full_like(BASE["embed.weight"], math.nan)}
    found = looked(broken, states(1, scale=0.01, like=BASE))
    assert [each for each in found.findings if each.startswith("a holds weights that are no finite numbers")]
    json.loads(json.dumps(found.as_json(), allow_nan=False))


def test_tensors_of_other_shapes_are_left_out_by_name() -> None:
    wider = {**states(1, scale=0.01, like=BASE), "embed.weight": torch.zeros(12, 6)}
    found = looked(wider)
    assert found.left_out == ("embed.weight",)
    assert "embed.weight" in " ".join(found.findings)


def test_models_without_a_common_tensor_are_refused() -> None:
    with pytest.raises(MergeError, match=r"other share no tensor with base"):
        inspect([States({"x": torch.zeros(2)}, "other")], base=States(BASE, "base"))


def test_a_density_that_is_no_share_is_refused() -> None:
    with pytest.raises(MergeError, match=r"density is 1.5"):
        looked(BASE, density=1.5)


def test_two_models_of_one_name_are_told_apart() -> None:
    found = inspect([States(BASE, "x"), States(BASE, "x")], base=States(BASE, "base"))
    assert found.labels == ("x (1)", "x (2)")


def test_the_page_has_a_heat_map_of_blocks_by_roles_and_no_foreign_markup() -> None:
    found = inspect(
        [States(states(n, like=BASE), label) for n, label in ((1, "<b>a</b>"), (2, "b"))], base=States(BASE, "base")
    )
    written = page(found)
    assert "<b>a</b>" not in written
    body = written.replace("<!doctype html>", "").replace('<meta charset="utf-8">', "")
    body = body[: body.index("<meta name")] + body[body.index("<title>") :]
    maps = [each for each in ElementTree.fromstring(body).iter("table") if "matrix" in (each.get("class") or "")]
    assert len(maps) == 4  # signs, cosine, and each model's change
    first = [[cell.text for cell in row] for row in maps[0].iter("tr")]
    assert first[0] == [None, "embedding", "attention.query", "norm"]
    assert [row[0] for row in first[1:]] == [OUTSIDE, "layers.0", "layers.1"]
    kept_here = next(line for line in found.lines if line.name == "layers.1 attention.query").kept_conflicts
    assert kept_here is not None
    assert first[3][2] == f"{100 * kept_here:.0f} %"


def test_the_screen_has_a_line_for_each_block_and_role(capsys: pytest.CaptureFixture[str]) -> None:
    show(looked(states(1, like=BASE), states(2, like=BASE)), Console(highlight=False, soft_wrap=True))
    shown = capsys.readouterr().out
    for name in (OUTSIDE, "layers.0", "layers.1", "embedding", "attention.query", "norm"):
        assert sum(line.startswith(name) for line in shown.splitlines()) == 1
