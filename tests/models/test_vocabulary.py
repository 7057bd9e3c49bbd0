"""Head and loss in chunks are the plain cross-entropy with its whole gradient, and never hold all logits."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from luthier.models import vocabulary
from luthier.models.vocabulary import Supervised, row_losses

WIDTH, NUM_WORDS, NUM_TOKENS, NUM_ROWS = 8, 50, 23, 5


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of four tokens, worked on one by one."""
    monkeypatch.setattr(vocabulary, "CPU_CHUNK_BYTES", 1)
    monkeypatch.setattr(vocabulary, "FEWEST_TOKENS", 4)
    monkeypatch.setattr(vocabulary, "CPU_BLOCK_BYTES", 1)


class Head(nn.Module):
    """As language models have them: a transform, biased words, a scale and a soft cap."""

    def __init__(self) -> None:
        super().__init__()
        self.transform = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.LayerNorm(WIDTH))
        self.words = nn.Linear(WIDTH, NUM_WORDS)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, states: Tensor) -> Tensor:
        return 3 * torch.tanh(self.words(self.transform(states)) * self.scale / 3)


def heads() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    twice = nn.Linear(WIDTH, WIDTH, bias=False)
    return {
        "linear": nn.Linear(WIDTH, NUM_WORDS, bias=False),
        "with all that heads have": Head(),
        "one weight used twice": nn.Sequential(twice, twice, nn.Linear(WIDTH, NUM_WORDS)),
        "frozen": nn.Linear(WIDTH, NUM_WORDS).requires_grad_(False),
    }


def tokens(dtype: torch.dtype = torch.float64, num_tokens: int = NUM_TOKENS) -> tuple[Tensor, Supervised]:
    """Hidden states and what is to be told of them; the fourth row has no token."""
    random = torch.Generator().manual_seed(1)
    states = torch.randn(num_tokens, WIDTH, generator=random).to(dtype).requires_grad_()
    targets = torch.randint(NUM_WORDS, (num_tokens,), generator=random)
    rows = torch.randint(NUM_ROWS - 1, (num_tokens,), generator=random)
    return states, Supervised(targets, rows + (rows == 3), NUM_ROWS)


def chunked(head: Any, states: Tensor, supervised: Supervised, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    return row_losses(head, states, supervised, num_words=NUM_WORDS, label_smoothing=smoothing)


def plain(head: Any, states: Tensor, supervised: Supervised, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    logits = head(states)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    losses = F.cross_entropy(logits, supervised.targets, reduction="none", label_smoothing=smoothing)
    return supervised.sums(losses), supervised.sums((logits.argmax(-1) == supervised.targets).to(losses.dtype))


def gradients(loss: Tensor, head: nn.Module, states: Tensor) -> Tensor:
    learnt = [states, *(p for p in head.parameters() if p.requires_grad)]
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, learnt)])


def distance(found: Tensor, expected: Tensor) -> float:
    return float(((found - expected).norm() / expected.norm()).detach())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", heads())
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_losses_hits_and_the_whole_gradient_are_the_plain_ones(
    kind: str, smoothing: float, dtype: torch.dtype, bound: float
) -> None:
    head = heads()[kind].to(dtype)
    states, supervised = tokens(dtype)
    expected, found = plain(head, states, supervised, smoothing), chunked(head, states, supervised, smoothing)
    assert torch.equal(found[1], expected[1])
    assert distance(found[0], expected[0]) < bound
    wanted = gradients(expected[0].sum() * 0.3, head, states)
    assert distance(gradients(found[0].sum() * 0.3, head, states), wanted) < bound


def test_hits_count_what_the_head_finds_likeliest() -> None:
    states, supervised = tokens()
    head = heads()["linear"].double()
    told = Supervised(head(states).argmax(-1), supervised.rows, NUM_ROWS)
    assert torch.equal(chunked(head, states, told)[1], supervised.sums(torch.ones(NUM_TOKENS).double()))


def test_rows_may_be_weighted_where_the_head_is_frozen() -> None:
    head = heads()["frozen"].double()
    states, supervised = tokens()
    weights = torch.arange(NUM_ROWS)
    expected = gradients((plain(head, states, supervised)[0] * weights).sum(), head, states)
    found = gradients((chunked(head, states, supervised)[0] * weights).sum(), head, states)
    assert distance(found, expected) < 1e-12


def test_rows_that_are_weighted_are_refused_where_the_head_learns() -> None:
    head = heads()["linear"].double()
    loss = (chunked(head, *tokens())[0] * torch.arange(NUM_ROWS)).sum()
    with pytest.raises(AssertionError, match="rows' losses summed"):
        loss.backward()


def test_gradients_are_handed_out_once() -> None:
    loss = chunked(heads()["linear"].double(), *tokens())[0].sum()
    loss.backward(retain_graph=True)
    with pytest.raises(AssertionError, match="handed out once"):
        loss.backward()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_losses_and_hits_are_the_same(mode: Any) -> None:
    head, (states, supervised) = heads()["linear"].double(), tokens()
    expected = plain(head, states, supervised)
    with mode():
        found = chunked(head, states, supervised)
    assert not found[0].requires_grad
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_a_head_learns_on_states_that_do_not() -> None:
    head, (states, supervised) = heads()["linear"].double(), tokens()
    expected, found = (loss(head, states.detach(), supervised)[0].sum() for loss in (plain, chunked))
    (wanted,), (grad,) = (torch.autograd.grad(each, [head.weight]) for each in (expected, found))
    assert distance(grad, wanted) < 1e-12


def test_no_token_at_all_is_no_loss() -> None:
    states, supervised = tokens(num_tokens=0)
    losses, hits = chunked(heads()["linear"].double(), states, supervised)
    losses.sum().backward()
    assert losses.tolist() == hits.tolist() == [0.0] * NUM_ROWS
    assert states.grad is not None


def test_what_is_well_fitted_keeps_its_slope_in_bf16() -> None:
    """p - 1 made from a p in bf16 would be 0 from p = 0.998 on."""
    head = nn.Linear(WIDTH, NUM_WORDS, bias=False).bfloat16().requires_grad_(False)
    states, _ = tokens(torch.bfloat16)
    logits = head(states.detach() * 12).double()
    states = (states.detach() * 12).requires_grad_()
    supervised = Supervised(logits.argmax(-1), torch.zeros(NUM_TOKENS, dtype=torch.long), 1)
    chunked(head, states, supervised)[0].sum().backward()
    slope = logits.softmax(-1) - F.one_hot(supervised.targets, NUM_WORDS)
    assert states.grad is not None
    expected = slope @ head.weight.double()
    assert bool(((states.grad.double() - expected).norm(dim=-1) < 0.02 * expected.norm(dim=-1)).all())


def test_small_losses_keep_their_digits() -> None:
    head = nn.Identity()
    states = torch.full((1, NUM_WORDS), 100.0)
    states[0, 7] = 116.0
    supervised = Supervised(torch.tensor([7]), torch.tensor([0]), 1)
    exact = plain(head, states.double(), supervised)[0].item()
    assert chunked(head, states, supervised)[0].item() == pytest.approx(exact, rel=0.02)


def test_the_loss_scale_of_fp16_does_not_overflow() -> None:
    head = nn.Linear(WIDTH, NUM_WORDS).half().requires_grad_(False)
    states, supervised = tokens(torch.float16)
    (once,) = torch.autograd.grad(chunked(head, states, supervised)[0].sum(), states)
    (scaled,) = torch.autograd.grad((chunked(head, states, supervised)[0].sum() * 2**16), states)
    assert torch.equal(scaled, (once.float() * 2**16).half())


def test_autocast_computes_the_head_in_its_type() -> None:
    head, (states, supervised) = heads()["with all that heads have"], tokens(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = plain(head, states, supervised)[0], chunked(head, states, supervised)[0]
    assert found.dtype == torch.float32
    assert distance(found, expected) < 1e-6
    wanted = gradients(expected.sum(), head, states)
    assert 0 < distance(gradients(found.sum(), head, states), wanted) < 0.02


class _Sizes(TorchDispatchMode):
    """Elements of the largest tensor that any operation gave."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **kwargs or {})
        sizes = [leaf.numel() for leaf in tree_leaves(given) if isinstance(leaf, Tensor)]
        self.largest = max([self.largest, *sizes])
        return given


@pytest.mark.parametrize(("loss", "largest"), [(chunked, 4 * NUM_WORDS), (plain, NUM_TOKENS * NUM_WORDS)])
def test_no_tensor_holds_more_logits_than_those_of_a_chunk(loss: Any, largest: int) -> None:
    head, (states, supervised) = heads()["frozen"].double(), tokens()
    with _Sizes() as sizes:
        loss(head, states, supervised, 0.1)[0].sum().backward()
    assert sizes.largest == max(largest, NUM_WORDS * WIDTH)


@pytest.fixture
def carried() -> Iterator[list[tuple[int, ...]]]:
    """Shapes of what autograd saves, as whoever carries activations to the host sees them."""
    shapes: list[tuple[int, ...]] = []

    def pack(tensor: Tensor) -> Tensor:
        shapes.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield shapes


def test_what_a_chunk_saves_is_not_carried_away(carried: list[tuple[int, ...]]) -> None:
    head, (states, supervised) = heads()["with all that heads have"].double(), tokens()
    chunked(head, states, supervised)
    assert not [shape for shape in carried if NUM_WORDS in shape]
    plain(head, states, supervised)
    assert [shape for shape in carried if NUM_WORDS in shape]
