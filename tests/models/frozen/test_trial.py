"""A model whose frozen states cannot stand for what it computes is found out before any are kept."""

import pytest

from luthier.models.frozen.points import NotServed
from luthier.tasks.masked_lm import MaskedLM
from tests.contracts.test_tasks import EXAMPLES
from tests.models.frozen.freezing import cache_for, cache_of, example_cache, learning, made_to_learn, texts
from tests.sounds import tiny_speech


@pytest.mark.parametrize("parts", [("encoder", "head"), ("norm",), ("embedding",), ("blocks.0", "head")], ids="+".join)
def test_a_model_that_learns_from_the_first_block_on_has_none(parts: tuple[str, ...]) -> None:
    with pytest.raises(NotServed, match="something learns in the first block or before it"):
        cache_for(learning("bert", *parts))


def test_a_bias_that_all_blocks_share_leaves_none_where_it_learns() -> None:
    with pytest.raises(NotServed, match="something learns"):
        cache_for(learning("deberta-v2", "last-1", "re:rel_embeddings"))


def test_a_head_that_is_tied_to_the_embedding_leaves_none_where_it_learns() -> None:
    (example,) = [each for each in EXAMPLES if each.task.kind() == "seq2seq"]
    with pytest.raises(NotServed, match="something learns"):
        example_cache(made_to_learn(example.build("bart"), "re:lm_head"), example)


def test_a_task_that_draws_tokens_anew_is_not_served() -> None:
    example = next(each for each in EXAMPLES if isinstance(each.task, MaskedLM))
    with pytest.raises(NotServed, match="drawn anew"):
        example_cache(made_to_learn(example.build("bert"), "last-1"), example)


def test_a_group_norm_over_time_is_not_served() -> None:
    example = next(each for each in EXAMPLES if each.name == "wav2vec2")
    model = made_to_learn(tiny_speech("wav2vec2", feat_extract_norm="group"), "last-1")
    with pytest.raises(NotServed, match="padding"):
        example_cache(model, example)


def test_a_model_whose_rows_see_each_other_is_not_served() -> None:
    model = learning("bert", "last-1", "head")
    model.bert.embeddings.register_forward_hook(lambda module, args, states: states - states.mean(0, keepdim=True))
    with pytest.raises(NotServed, match="the rows beside it"):
        cache_for(model)


@pytest.mark.parametrize(
    ("family", "reason"),
    [("gpt2", "the rows beside it"), ("bert", "a row's own tokens")],
    ids=["its words stand elsewhere in every batch", "its head reads the first position"],
)
def test_padding_on_the_left_where_it_changes_rows_is_not_served(family: str, reason: str) -> None:
    with pytest.raises(NotServed, match=reason):
        cache_of(learning(family, "last-1", "head"), texts([4, 5], "left"), texts([4], "left"))


def test_a_model_whose_later_blocks_look_back_is_not_served() -> None:
    """As Gemma 3n's, which read the keys of earlier ones."""
    model, heard = learning("bert", "last-1", "head"), []
    blocks = model.bert.encoder.layer
    blocks[0].attention.self.key.register_forward_hook(lambda module, args, keys: heard.append(keys.mean()))
    blocks[3].register_forward_hook(lambda module, args, states: states + (heard.pop() if heard else 0.0))
    with pytest.raises(NotServed, match="needs more of the frozen part"):
        cache_for(model)
