"""Rows in another vocabulary, against mergekit's own remapping and against plain indexing."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM

from luthier.errors import MergeError
from luthier.merging.parents.checkpoint import Renamed, States
from luthier.merging.recipes.recipe import TokenSource
from luthier.merging.vocabularies.remapped import Remapped
from luthier.merging.vocabularies.stand_ins import standing_in
from luthier.merging.vocabularies.vocabulary import Vocabulary
from tests.merging.tokenized import loaded_tokenizer, mean_into, model_of, opened, remapped, vocabulary_of

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("models")
    return {
        "base": model_of(top / "base"),
        "a": model_of(top / "a", "<tool>", "foo bar", seed=1),
        "b": model_of(top / "b", "<call>", "<tool>", seed=2),
    }


def theirs(vocabulary: Vocabulary, tensors: Mapping[str, Tensor], base: str, rules: Mapping[str, TokenSource]):
    """mergekit's task on our permutations; -> by label, the tensor in the merged vocabulary."""
    from mergekit.common import ImmutableMap, ModelReference
    from mergekit.io.tasks import GatherTensors
    from mergekit.tokenizer import BuildTokenizer, PermutedVocabulary
    from mergekit.tokenizer.config import ModelTokenEmbedding, TokenEmbeddingConfig, ZeroEmbedding

    models = {label: ModelReference.model_validate(f"models/{label}") for label in tensors}
    assert vocabulary.tokens is not None
    info = SimpleNamespace(
        tokenizer=SimpleNamespace(get_vocab=lambda: vocabulary.tokens.numbers),
        permutations={models[label]: dict(enumerate(rows.tolist())) for label, rows in vocabulary.rows.items()},
        original_vocabs={},
    )
    configs = {}
    for token, rule in rules.items():
        source = models[rule.model] if rule.model else ZeroEmbedding(kind="zero")
        if isinstance(rule.token, int):
            source = ModelTokenEmbedding(kind="model_token", model=models[str(rule.model)], token_id=rule.token)
        configs[token] = TokenEmbeddingConfig(source=source, force=rule.force)
    task = PermutedVocabulary(
        gather_tensors=GatherTensors(weight_info=ImmutableMap(data={}), dtype=None, device=None),
        tokenizer_task=BuildTokenizer(
            base_model=models[base], referenced_models=tuple(models.values()), tokenizer_source="union", add_tokens=()
        ),
        tokens=ImmutableMap(data=configs),
        pad_to_multiple_of=16,
        base_model=models[base],
        vocabulary_axis=0,
    )
    found = task.execute(tokenizer_info=info, tensors={models[label]: tensor for label, tensor in tensors.items()})
    return {label: found[model] for label, model in models.items()}


@pytest.mark.parametrize("base", ["base", "a"])
@pytest.mark.parametrize("name", [EMBEDDING, HEAD])
def test_rows_equal_mergekit_s(folders: dict[str, Path], base: str, name: str) -> None:
    rules = {"w5": TokenSource(is_zero=True, force=True), "<call>": TokenSource(model="a", token=9)}
    checkpoints, _ = opened(folders)
    vocabulary = vocabulary_of(folders, base, "union", rules=rules, multiple_of=16)
    ours = {label: each.read(name) for label, each in remapped(checkpoints, vocabulary).items()}
    plain = vocabulary_of(folders, base, "union", multiple_of=16)  # mergekit forces by itself
    expected = theirs(plain, {label: each.read(name) for label, each in checkpoints.items()}, base, rules)
    for label in folders:
        torch.testing.assert_close(ours[label], expected[label], rtol=0, atol=1e-6)


def test_a_merged_model_loads_and_an_added_token_is_its_donor_s(folders: dict[str, Path], tmp_path: Path) -> None:
    checkpoints, found = opened(folders)
    vocabulary = vocabulary_of(folders, "base", "union")
    models = remapped(checkpoints, vocabulary)
    mean_into(tmp_path, models, found.dropped)
    vocabulary.write(tmp_path)
    from luthier.merging.beside.configuring import merged_config
    from luthier.merging.beside.write import write_beside

    config, _ = merged_config(checkpoints["base"].config, num_rows=vocabulary.size, tied=found.tied)
    write_beside(tmp_path, config=config, reference=folders["base"], folders=folders, vocabulary=vocabulary)
    model, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    words = loaded_tokenizer(tmp_path)
    rows = {EMBEDDING: model.get_input_embeddings().weight, HEAD: model.get_output_embeddings().weight}
    for name, weight in rows.items():
        of_a, of_b = checkpoints["a"].read(name), checkpoints["b"].read(name)
        torch.testing.assert_close(weight[words.convert_tokens_to_ids("foo bar")], of_a[65])
        torch.testing.assert_close(weight[words.convert_tokens_to_ids("<call>")], of_b[64])
        torch.testing.assert_close(weight[words.convert_tokens_to_ids("<tool>")], (of_a[64] + of_b[65]) / 2)
    with torch.no_grad():
        assert (
            model(**words("w1 <call> w2 foo bar", return_tensors="pt", return_token_type_ids=False))
            .logits.isfinite()
            .all()
        )


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Tensor], Vocabulary]:
    """Random embeddings of three models, and any rows for a merged vocabulary."""
    size = draw(st.integers(1, 40))
    sizes = {label: draw(st.integers(1, 30)) for label in ("base", "a", "b")}
    rows = {
        label: torch.tensor(draw(st.lists(st.integers(-1, num - 1), min_size=size, max_size=size)))
        for label, num in sizes.items()
    }
    tensors = {label: torch.randn(num, 3) for label, num in sizes.items()}
    return tensors, Vocabulary(size, rows, standing_in(rows, "base"), sizes)


def of(tensors: Mapping[str, Tensor], vocabulary: Vocabulary, label: str, axis: int = 0) -> Remapped:
    others = {each: States({"wte.weight": tensor}, each) for each, tensor in tensors.items()}
    return Remapped(others[label], label=label, vocabulary=vocabulary, axes={"wte.weight": axis}, others=others)


def expected(tensors: Mapping[str, Tensor], vocabulary: Vocabulary, label: str) -> Tensor:
    """Row by row, as the rule is written."""
    made = []
    for row in range(vocabulary.size):
        own = int(vocabulary.rows[label][row])
        if own >= 0:
            made.append(tensors[label][own])
        else:
            lent = [tensors[each][donor] for each, donor in vocabulary.stand_ins[row]]
            made.append(torch.stack(lent).mean(0) if lent else torch.zeros_like(tensors[label][0]))
    return torch.stack(made)


@given(cases(), st.sampled_from(["base", "a", "b"]), st.integers(0, 40), st.integers(0, 40))
def test_any_rows_are_the_same_rows_of_the_whole(
    case: tuple[dict[str, Tensor], Vocabulary], label: str, start: int, stop: int
) -> None:
    tensors, vocabulary = case
    whole = expected(tensors, vocabulary, label)
    checkpoint = of(tensors, vocabulary, label)
    assert checkpoint.specs["wte.weight"].shape == (vocabulary.size, 3)
    torch.testing.assert_close(checkpoint.read("wte.weight", start, stop), whole[start:stop])
    torch.testing.assert_close(checkpoint.read("wte.weight"), whole)


@given(cases(), st.sampled_from(["base", "a", "b"]))
def test_biases_and_second_axes_follow_the_same_rows(case: tuple[dict[str, Tensor], Vocabulary], label: str) -> None:
    tensors, vocabulary = case
    whole = expected(tensors, vocabulary, label)
    across = {each: tensor.T.contiguous() for each, tensor in tensors.items()}
    torch.testing.assert_close(of(across, vocabulary, label, axis=1).read("wte.weight"), whole.T)
    torch.testing.assert_close(of(across, vocabulary, label, axis=1).read("wte.weight", 1, 2), whole.T[1:2])
    biases = {each: tensor[:, 0].contiguous() for each, tensor in tensors.items()}
    torch.testing.assert_close(of(biases, vocabulary, label).read("wte.weight"), whole[:, 0])


def test_what_stands_in_is_held_without_loss_and_a_mean_is_rounded_once() -> None:
    rows = {"base": torch.tensor([0, -1]), "a": torch.tensor([-1, 0]), "b": torch.tensor([-1, 0])}
    vocabulary = Vocabulary(2, rows, standing_in(rows, "base"), {"base": 1, "a": 1, "b": 1})
    tensors = {"base": torch.ones(1, 2).bfloat16(), "a": torch.full((1, 2), 1.001), "b": torch.full((1, 2), 1.003)}
    checkpoint = of(tensors, vocabulary, "base")
    assert checkpoint.specs["wte.weight"].dtype == torch.float32
    torch.testing.assert_close(checkpoint.read("wte.weight")[1], torch.full((2,), 1.002))


def test_what_is_not_counted_in_tokens_is_read_as_it_is() -> None:
    rows = {"a": torch.tensor([1, 0])}
    states = States({"wte.weight": torch.eye(2), "norm.weight": torch.arange(2.0)}, "a")
    vocabulary = Vocabulary(2, rows, {}, {"a": 2})
    checkpoint = Remapped(states, label="a", vocabulary=vocabulary, axes={"wte.weight": 0}, others={"a": states})
    assert torch.equal(checkpoint.read("norm.weight"), torch.arange(2.0))
    assert torch.equal(checkpoint.read("wte.weight"), torch.eye(2).flip(0))


def test_a_donor_without_the_tensor_is_named() -> None:
    rows = {"a": torch.tensor([-1]), "b": torch.tensor([0])}
    vocabulary = Vocabulary(1, rows, standing_in(rows, "a"), {"a": 1, "b": 1})
    states = {"a": States({"lm_head.weight": torch.eye(1)}, "a"), "b": States({}, "b")}
    checkpoint = Remapped(states["a"], label="a", vocabulary=vocabulary, axes={"lm_head.weight": 0}, others=states)
    with pytest.raises(MergeError, match=r"b: has no lm_head\.weight, whose rows are to stand in"):
        checkpoint.read("lm_head.weight")


def test_an_alias_reads_the_tensor_it_is_given_for() -> None:
    states = States({"wte.weight": torch.arange(6.0).reshape(3, 2)}, "a", {"model_type": "gpt2"})
    checkpoint = Renamed.adding(states, {"lm_head.weight": "wte.weight"})
    assert checkpoint.specs["lm_head.weight"] == states.specs["wte.weight"]
    assert torch.equal(checkpoint.read("lm_head.weight", 1, 2), states.read("wte.weight", 1, 2))
    assert checkpoint.config == {"model_type": "gpt2"}
    assert checkpoint.label == "a"


def test_strewn_rows_are_read_in_short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.merging.vocabularies.remapped.GAP_BYTES", 16)
    monkeypatch.setattr("luthier.merging.vocabularies.remapped.RUN_BYTES", 10 * 16)
    tensor = torch.randn(200, 4)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))[:90]
    runs: list[int] = []

    class Watched(States):
        def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
            assert stop is not None
            runs.append(stop - start)
            return super().read(name, start, stop)

    states = Watched({"wte.weight": tensor}, "a")
    vocabulary = Vocabulary(90, {"a": order}, {}, {"a": 200})
    checkpoint = Remapped(states, label="a", vocabulary=vocabulary, axes={"wte.weight": 0}, others={"a": states})
    assert torch.equal(checkpoint.read("wte.weight"), tensor[order])
    assert max(runs) <= 10
    assert 20 < len(runs) < 90
