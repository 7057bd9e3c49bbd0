"""The loss of supervised tokens is that of all logits at once, with its whole gradient, on every family that writes."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from luthier.methods._low_rank import Update
from luthier.methods._parts import parts_of
from luthier.methods.lora import Lora
from luthier.models import forward, vocabulary
from luthier.tasks import _language
from luthier.tasks._language import token_loss
from luthier.tasks._tokens import IGNORED
from tests.contracts.examples.seq2seq import two_in_one
from tests.tiny import FAMILIES, tiny

CAUSAL = ("gpt2", "gpt_neox", "llama", "mistral", "qwen2", "gemma3_text", "phi3", "opt", "bloom", "mixtral")
MASKED = ("bert", "roberta", "distilbert", "albert", "electra", "deberta-v2", "modernbert")
ENCODER_DECODERS = ("t5", "bart", "marian", "encoder-decoder")
OTHERS: dict[str, dict[str, Any]] = {
    "gemma2": {"final_logit_softcapping": 0.5, "head_dim": 8},
    "cohere": {"logit_scale": 0.25},
    "granite": {"logits_scaling": 3.0},
}
"""What they do with their logits, on top of a Llama's configuration."""
WRITERS = (*CAUSAL, *OTHERS, *MASKED, *ENCODER_DECODERS, "whisper")
TARGETS = torch.tensor(
    [
        [IGNORED, 9, 10, 11, 2, IGNORED],
        [7, 8, IGNORED, IGNORED, IGNORED, IGNORED],
        [IGNORED] * 6,
        [3, 4, 5, 6, 7, 8],
    ]
)
IDS = torch.tensor([[1, 9, 10, 11, 2, 3], [1, 7, 8, 2, 0, 0], [1, 5, 2, 0, 0, 0], [4, 5, 6, 7, 8, 9]])


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of five tokens, of the thirteen that are supervised."""
    monkeypatch.setattr(vocabulary, "CPU_CHUNK_BYTES", 1)
    monkeypatch.setattr(vocabulary, "FEWEST_TOKENS", 5)
    monkeypatch.setattr(vocabulary, "CPU_BLOCK_BYTES", 2 * 64 * 4)


def writer(family: str, **settings: Any) -> PreTrainedModel:
    if family == "encoder-decoder":
        return two_in_one()
    if family in OTHERS:
        config = AutoConfig.for_model(family, **FAMILIES["llama"] | OTHERS[family] | settings)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return AutoModelForCausalLM.from_config(config).eval()
    model = tiny(family, head="lm", **settings)
    if family == "mixtral":
        model.set_experts_implementation("eager")  # the other ones know no float64
    return model


def inputs(family: str, dtype: torch.dtype) -> dict[str, Tensor]:
    mask = (IDS != 0).long()
    if family == "whisper":
        sounds = torch.randn(4, 8, 32, generator=torch.Generator().manual_seed(0)).to(dtype)
        return {"input_features": sounds, "decoder_input_ids": IDS}
    more = {"decoder_input_ids": IDS.flip(0)} if family in ENCODER_DECODERS else {}
    return {"input_ids": IDS, "attention_mask": mask, **more}


def plain(model: PreTrainedModel, given: dict[str, Tensor], smoothing: float) -> tuple[Tensor, Tensor]:
    logits = model(**given).logits
    losses = F.cross_entropy(logits.mT, TARGETS, reduction="none", label_smoothing=smoothing, ignore_index=IGNORED)
    return losses.sum(-1), (logits.argmax(-1) == TARGETS).sum(-1)


def ours(model: PreTrainedModel, given: dict[str, Tensor], smoothing: float) -> tuple[Tensor, Tensor]:
    loss, hits = token_loss(model, forward.hidden(model, given), TARGETS, label_smoothing=smoothing)
    assert loss.count.tolist() == [4, 2, 0, 6]
    return loss.total, hits.long()


def gradients(model: PreTrainedModel, loss: Tensor) -> Tensor:
    learnt = [p for p in model.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, learnt, allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in found])


def assert_same(model: PreTrainedModel, given: dict[str, Tensor], smoothing: float, bound: float) -> None:
    """Each row's loss and hits, and the whole gradient."""
    expected, found = plain(model, given, smoothing), ours(model, given, smoothing)
    assert torch.equal(found[1], expected[1])
    pairs = [(found[0], expected[0]), tuple(gradients(model, each.sum()) for each, _ in (found, expected))]
    for one, other in pairs:
        assert (one - other).norm() <= bound * other.norm()


@pytest.mark.filterwarnings("ignore:Version v4.12.0 introduces:FutureWarning")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("family", WRITERS)
def test_every_family_has_the_plain_loss_and_gradient(
    family: str, dtype: torch.dtype, bound: float, smoothing: float
) -> None:
    assert_same(writer(family).to(dtype), inputs(family, dtype), smoothing, bound)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "cohere", "bert", "bart", "whisper"])
def test_words_may_be_tied_or_not(family: str, tied: bool) -> None:
    model = writer(family, tie_word_embeddings=tied).double()
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied
    assert_same(model, inputs(family, torch.float64), 0.0, 1e-12)


@pytest.mark.parametrize("family", ["llama", "bert", "t5", "whisper"])
def test_a_frozen_head_hands_on_what_the_body_learns_from(family: str) -> None:
    model = writer(family, tie_word_embeddings=False).double()
    model.get_output_embeddings().requires_grad_(False)
    assert_same(model, inputs(family, torch.float64), 0.1, 1e-12)


def test_a_head_learns_alone() -> None:
    model = writer("llama").double().requires_grad_(False)
    model.get_output_embeddings().requires_grad_(True)
    assert_same(model, inputs("llama", torch.float64), 0.0, 1e-12)


def test_what_a_method_hangs_on_the_head_learns() -> None:
    model = writer("llama")
    Lora(targets=("re:lm_head",)).apply(model, generator=torch.Generator().manual_seed(0))
    (_, update), *others = parts_of(model, Update)
    assert not others
    torch.nn.init.normal_(update.B)
    model.double()
    assert_same(model, inputs("llama", torch.float64), 0.1, 1e-12)


def test_it_goes_with_checkpointing() -> None:
    model = writer("llama", tie_word_embeddings=True).double().train()
    model.gradient_checkpointing_enable()
    assert_same(model, inputs("llama", torch.float64), 0.0, 1e-12)


def test_only_the_number_of_supervised_tokens_depends_on_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a step runs on tensors without values, if it is told that number."""
    monkeypatch.setattr(_language, "supervised_places", lambda targets: torch.arange(13))
    with FakeTensorMode():
        model = writer("llama", tie_word_embeddings=True)
        targets, ids = torch.zeros(4, 6, dtype=torch.long), torch.zeros(4, 6, dtype=torch.long)
        loss, hits = token_loss(model, forward.hidden(model, {"input_ids": ids}), targets)
        loss.total.sum().backward()
    assert loss.total.shape == hits.shape == (4,)
    assert all(p.grad is not None for p in model.parameters())
