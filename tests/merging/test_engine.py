"""Tensor by tensor on several threads: the same numbers whatever the memory, the threads, and what was there before."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from luthier.component import find
from luthier.errors import MergeError
from luthier.merging.engine import Output, elements_of_a_part, run
from luthier.merging.methods import Merge
from luthier.merging.parents.checkpoint import Spec, States
from luthier.merging.shards import Shards
from luthier.merging.tensors import Source, merge_states


def weights(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"wide": (300, 40), "row": (1, 7), "vector": (11,), "number": (), "cube": (6, 5, 4)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


NEEDED = {"dare-ties": {"density": 0.5}}
MODELS, LABELS = [weights(seed) for seed in (1, 2)], ("a", "b")
BASE = weights(0)


def outputs(method: Merge | None, models: list[dict[str, torch.Tensor]] = MODELS) -> list[Output]:
    held, base = [States(each, label) for each, label in zip(models, LABELS, strict=True)], States(BASE, "base")
    return [
        Output(
            name,
            Spec(tuple(tensor.shape), tensor.dtype),
            tuple(Source(states, name) for states in held),
            LABELS,
            Source(base, name),
            method,
        )
        for name, tensor in BASE.items()
    ]


def made(folder: Path, todo: list[Output], *, memory: int = 2**20, num_threads: int = 2) -> dict[str, torch.Tensor]:
    shards = Shards(folder, {each.name: each.spec for each in todo}, shard_bytes=2**30, plan="it")
    told = [record["name"] for record in run(todo, shards, memory=memory, num_threads=num_threads)]
    assert sorted(told) == sorted(each.name for each in todo)
    shards.finish()
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("kind", ["linear", "ties", "dare-ties", "slerp"])
def test_memory_and_threads_do_not_change_a_number(tmp_path: Path, kind: str) -> None:
    method = find("merges", kind).model_validate(NEEDED.get(kind, {}))
    models = MODELS[:1] if kind == "slerp" else MODELS
    held = [outputs(method)[n] for n in range(len(BASE))]
    if kind == "slerp":
        held = [Output(o.name, o.spec, o.models[:1], o.labels[:1], o.base, o.method) for o in held]
    whole = merge_states(models, method, base=BASE, labels=LABELS[: len(models)])
    for number, (memory, num_threads) in enumerate([(2**20, 1), (2**17, 2), (2**10, 3)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = made(folder, held, memory=memory, num_threads=num_threads)
        for name, tensor in whole.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-6, atol=1e-7)


def test_less_memory_means_smaller_parts() -> None:
    assert elements_of_a_part(2**22, num_threads=2, num_tensors=3) < elements_of_a_part(
        2**24, num_threads=2, num_tensors=3
    )


def test_what_has_no_method_is_copied_bit_for_bit(tmp_path: Path) -> None:
    found = made(tmp_path, outputs(None))
    assert all(torch.equal(found[name], MODELS[0][name]) for name in BASE)


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    todo = outputs(find("merges", "linear")())
    specs = {each.name: each.spec for each in todo}
    first = Shards(tmp_path, specs, shard_bytes=2**30, plan="it")
    list(run(todo[:2], first, memory=2**20, num_threads=1))
    first.close()
    again = Shards(tmp_path, specs, shard_bytes=2**30, plan="it")
    told = {record["name"] for record in run(todo, again, memory=2**20, num_threads=1)}
    assert told == {each.name for each in todo[2:]}
    again.close()


def test_a_number_that_is_not_finite_is_told_with_its_model(tmp_path: Path) -> None:
    broken = {name: tensor.clone() for name, tensor in MODELS[1].items()}
    broken["wide"][200, 3] = float("nan")
    todo = outputs(find("merges", "linear")(), [MODELS[0], broken])
    shards = Shards(tmp_path, {each.name: each.spec for each in todo}, shard_bytes=2**30, plan="it")
    with pytest.raises(MergeError, match=r"wide: b has numbers there that are not finite"):
        list(run(todo, shards, memory=2**12, num_threads=2))
    shards.close()


def test_arithmetic_is_fp32_and_the_result_rounded_once(tmp_path: Path) -> None:
    halves = [{name: tensor.bfloat16() for name, tensor in each.items()} for each in MODELS]
    todo = [
        Output(o.name, Spec(o.spec.shape, torch.bfloat16), o.models, o.labels, None, o.method)
        for o in outputs(find("merges", "linear")(weight=(0.3, 0.6)), halves)
    ]
    found = made(tmp_path, todo)
    for name in BASE:
        wanted = (0.3 * halves[0][name].float() + 0.6 * halves[1][name].float()) / (0.3 + 0.6)
        assert found[name].dtype == torch.bfloat16
        torch.testing.assert_close(found[name].float(), wanted.bfloat16().float(), rtol=2**-7, atol=1e-7)


def test_a_survey_of_the_whole_model_has_one_density(tmp_path: Path) -> None:
    kind = find("merges", "ties")
    densities = {name: 0.1 * number for number, name in enumerate(BASE, 1)}
    todo = [
        Output(o.name, o.spec, o.models, o.labels, o.base, kind(density=(densities[o.name],))) for o in outputs(kind())
    ]
    shards = Shards(tmp_path, {each.name: each.spec for each in todo}, shard_bytes=2**30, plan="it")
    with pytest.raises(MergeError, match=r"trim: tensor"):
        list(run(todo, shards, memory=2**20, num_threads=1))
    shards.close()


def test_what_the_written_type_cannot_hold_is_told(tmp_path: Path) -> None:
    large = [{name: tensor.abs() * 1e5 + 1e5 for name, tensor in each.items()} for each in MODELS]
    todo = [
        Output(o.name, Spec(o.spec.shape, torch.float16), o.models, o.labels, None, o.method)
        for o in outputs(find("merges", "linear")(), large)
    ]
    shards = Shards(tmp_path, {each.name: each.spec for each in todo}, shard_bytes=2**30, plan="it")
    with pytest.raises(MergeError, match="not finite"):
        list(run(todo, shards, memory=2**20, num_threads=1))
    shards.close()
