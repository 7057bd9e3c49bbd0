"""Cross-entropy over a vocabulary whose logits are never held whole: head and loss, some tokens at a time.

A token's loss is (1 - s) (lse(z) - z_y) + s (lse(z) - mean(z)), with logits z, target y and label smoothing s; its
slope by z is softmax(z) - (1 - s) onehot(y) - s / words. A chunk goes back to its hidden states, and to what learns in
the head, as soon as its logits are there; then they are dropped, and the run's backward pass only scales what it finds.
Any head serves: autograd goes through it, so soft caps, scales, biases, ties and what a method inserted need no care.
Hsu et al. 2024, https://arxiv.org/abs/2410.10989; Wijmans et al. 2024, https://arxiv.org/abs/2411.09009.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import Node, saved_tensors_hooks

CPU_CHUNK_BYTES, GPU_CHUNK_BYTES = 32 * 2**20, 256 * 2**20
"""Logits of a chunk; as much again for their slope."""
FEWEST_TOKENS = 128
"""Of a chunk, however large the vocabulary: matrix products of fewer rows are slow."""
CPU_BLOCK_BYTES = 8 * 2**20
"""Logits in fp32 that a CPU works on at once: what it computes from them is read from its caches."""

Head = Callable[[Float[Tensor, "tokens width"]], Float[Tensor, "tokens words"]]


@dataclass(frozen=True)
class Supervised:
    """Tokens that a loss looks at."""

    targets: Int[Tensor, " tokens"]
    """The token that is to be told at each."""
    rows: Int[Tensor, " tokens"]
    """The row of the batch that each is of."""
    num_rows: int
    """Rows of the batch."""

    def sums(self, values: Float[Tensor, " tokens"]) -> Float[Tensor, " rows"]:
        """Each row's sum."""
        return values.new_zeros(self.num_rows).index_add(0, self.rows, values)


def row_losses(
    head: Head,
    states: Float[Tensor, "tokens width"],
    supervised: Supervised,
    *,
    num_words: int,
    label_smoothing: float = 0.0,
) -> tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]:
    """Each row's loss, summed over its tokens, and how many of its targets are the likeliest word of all.

    In fp32, or in fp64 where the logits are. The head may look at one token at a time only. Where parameters of the
    head learn, the rows' losses must be summed before the backward pass, with one factor for all of them.
    """
    at_once = _tokens_at_once(states, num_words)
    gradients = _Gradients()
    judged = []
    for part, targets in zip(states.split(at_once), supervised.targets.split(at_once), strict=True):
        judged.append(_judged(head, part, targets, label_smoothing, gradients))
    losses, hits = (torch.cat(each) for each in zip(*judged, strict=True))
    totals = supervised.sums(losses)
    if gradients.are_wanted:
        parameters = list(gradients.of_parameters)
        totals = _Known.apply(totals, supervised.rows, gradients, states, *parameters)  # type: ignore[no-untyped-call]
    return totals, supervised.sums(hits)


class _Gradients:
    """Those of the sum of all losses, as chunk after chunk brings its own."""

    def __init__(self) -> None:
        self.of_states: list[Tensor] = []
        self.of_parameters: dict[Tensor, Tensor] = {}

    @property
    def are_wanted(self) -> bool:
        return bool(self.of_states or self.of_parameters)

    def add(self, states: Tensor, logits: Tensor, slope: Tensor) -> None:
        """Go back from a chunk's logits."""
        leaves = list(_leaves(logits))
        for leaf, gradient in zip(leaves, torch.autograd.grad(logits, leaves, slope), strict=True):
            if leaf is states:
                self.of_states.append(gradient)
            elif leaf in self.of_parameters:
                self.of_parameters[leaf].add_(gradient)
            else:  # a tensor of our own, as two leaves may share a gradient; in bf16 the later of many chunks were lost
                self.of_parameters[leaf] = gradient.to(_wide(gradient.dtype), copy=True)


class _Known(torch.autograd.Function):
    """The rows' losses as a function of what their gradients are known of already."""

    @staticmethod
    def forward(ctx: Any, totals: Tensor, rows: Tensor, gradients: _Gradients, *learnt: Tensor) -> Tensor:
        ctx.rows, ctx.gradients = rows, gradients
        return totals.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Float[Tensor, " rows"]) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None  # for the body's backward pass there is room again
        assert gradients is not None, "the gradients of a vocabulary's loss are handed out once"
        of_states = torch.cat(gradients.of_states) if gradients.of_states else None
        if of_states is not None:
            of_states.mul_(slope[ctx.rows, None])
        # Where losses were summed, autograd hands the sum's slope to every row as one number that is read many times.
        is_common = slope.shape[0] == 1 or slope.stride(0) == 0
        assert is_common or not gradients.of_parameters, "a head that learns needs its rows' losses summed, unweighted"
        of_parameters = [gradient.mul_(slope[0]) for gradient in gradients.of_parameters.values()]
        return None, None, None, of_states, *of_parameters


def _judged(
    head: Head,
    states: Float[Tensor, "tokens width"],
    targets: Int[Tensor, " tokens"],
    label_smoothing: float,
    gradients: _Gradients,
) -> tuple[Float[Tensor, " tokens"], Float[Tensor, " tokens"]]:
    """Losses and hits of a chunk's tokens; its gradients, where any are wanted, are added to the others."""
    states = states.detach().requires_grad_(states.requires_grad and torch.is_grad_enabled())
    with saved_tensors_hooks(_as_it_is, _as_it_is):  # what is needed again at once is carried nowhere meanwhile
        logits = head(states)
    slope = torch.empty_like(logits) if logits.requires_grad else None
    losses, hits = _compared(logits.detach(), targets, label_smoothing, slope)
    if slope is not None:
        gradients.add(states, logits, slope)
    return losses, hits


def _compared(
    logits: Float[Tensor, "tokens words"],
    targets: Int[Tensor, " tokens"],
    label_smoothing: float,
    slope: Float[Tensor, "tokens words"] | None,
) -> tuple[Float[Tensor, " tokens"], Float[Tensor, " tokens"]]:
    """The loss of each token and whether its target is the likeliest word; `slope` is overwritten with the loss's."""
    num_tokens, num_words = logits.shape
    wide = _wide(logits.dtype)
    losses, hits = logits.new_empty(2, num_tokens, dtype=wide)
    at_once = max(1, CPU_BLOCK_BYTES // (num_words * wide.itemsize)) if logits.device.type == "cpu" else num_tokens
    for start in range(0, num_tokens, at_once):
        block = slice(start, start + at_once)
        z, target = logits[block].to(wide), targets[block, None]
        p, (largest, likeliest) = z.softmax(-1), z.max(-1)
        # lse(z) is the largest logit less the logarithm of its probability; small losses so keep their digits.
        losses[block] = (1 - label_smoothing) * (largest - z.gather(-1, target)[:, 0]) - p.amax(-1).log()
        if label_smoothing:
            losses[block] += label_smoothing * (largest - z.mean(-1))
        hits[block] = likeliest == target[:, 0]
        if slope is not None:  # in fp32 until it is whole: a target's p - 1 is small once it is learnt
            p.scatter_add_(-1, target, p.new_full(target.shape, label_smoothing - 1))
            slope[block] = p.sub_(label_smoothing / num_words) if label_smoothing else p
    return losses, hits


def _leaves(logits: Tensor) -> Iterator[Tensor]:
    """Every tensor that these were computed from and that wants a gradient."""
    assert logits.grad_fn is not None
    seen: set[Node] = set()
    nodes: list[Node] = [logits.grad_fn]
    while nodes:
        node = nodes.pop()
        if node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        nodes += [behind for behind, _ in node.next_functions if behind is not None]


def _tokens_at_once(states: Float[Tensor, "tokens width"], num_words: int) -> int:
    chunk_bytes = CPU_CHUNK_BYTES if states.device.type == "cpu" else GPU_CHUNK_BYTES
    return max(FEWEST_TOKENS, chunk_bytes // (num_words * states.element_size()))


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The type that losses are computed and gradients summed up in."""
    return torch.promote_types(dtype, torch.float32)


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor
