"""`model+adapter`: the weights with a LoRA in them, W + scale B A, computed for the rows that are read, in fp32."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from luthier.errors import MergeError
from luthier.merging.adapters.lora_files import Adapter, Factors, product_rows, read_lora
from luthier.merging.parents.checkpoint import Checkpoint, Spec
from luthier.merging.parents.names import aligned

FLIPPED = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp")
"""Models whose linear layers keep their weights transposed; PEFT's fan_in_fan_out says so of the last layer only."""
WITH_OUTPUT_TABLE = ("LMHeadModel", "ForCausalLM", "ForMaskedLM", "ForPreTraining", "ForConditionalGeneration")
"""Ends of the names of models whose answers are words, by a table that may be the one of the inputs."""


@dataclass(frozen=True)
class _Update:
    factors: Factors
    is_flipped: bool

    def rows(self, start: int, stop: int | None, dtype: torch.dtype) -> Tensor:
        """Rows of what is added to the weight as it is stored."""
        A, B = self.factors.A.to(dtype), self.factors.B.to(dtype) * self.factors.scale
        return product_rows(A.T, B.T, start, stop) if self.is_flipped else product_rows(B, A, start, stop)


class Adapted(Checkpoint):
    """A model with an adapter in its weights: what that touches reads as fp32, the rest as it is stored."""

    def __init__(self, checkpoint: Checkpoint, adapter: Path | Adapter) -> None:
        self.inner = checkpoint
        self.adapter = adapter if isinstance(adapter, Adapter) else read_lora(adapter)
        self.label = f"{checkpoint.label}+{self.adapter.label}"
        names = [*(f"{name}.weight" for name in self.adapter.layers), *self.adapter.whole]
        self._called = aligned(checkpoint.specs, names)
        self._updates = dict(self._found(name, factors) for name, factors in self.adapter.layers.items())
        self._whole = {self._called.get(name, name): tensor for name, tensor in self.adapter.whole.items()}

    @cached_property
    def specs(self) -> Mapping[str, Spec]:
        stored = self.inner.specs
        found = {name: self._spec(name, stored[name].shape, self._dtype(name)) for name in self._updates}
        whole = {name: self._spec(name, tuple(each.shape), each.dtype) for name, each in self._whole.items()}
        return {**stored, **found, **whole}

    def _spec(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Spec:
        stored = self.inner.specs.get(name)
        return Spec(shape, dtype, None if stored is None or stored.dtype == dtype else stored.dtype)

    @property
    def config(self) -> Mapping[str, Any]:
        return self.inner.config

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        if (whole := self._whole.get(name)) is not None:
            return whole if whole.dim() < 2 else whole[start:stop]
        stored = self.inner.read(name, start, stop)
        if (update := self._updates.get(name)) is None:
            return stored
        dtype = self._dtype(name)
        return stored.to(dtype) + update.rows(start, stop, dtype)

    def _dtype(self, name: str) -> torch.dtype:
        return torch.promote_types(self.inner.specs[name].dtype, torch.float32)

    def _found(self, layer: str, factors: Factors) -> tuple[str, _Update]:
        name = self._called.get(f"{layer}.weight")
        if name is None:
            raise MergeError(
                f"{self.label}: {self.inner.label} has no tensor for the adapter's layer {layer}; give the base that "
                "the adapter was trained on (a table that is tied to another has none)"
            )
        spec = self.inner.specs[name]
        shape, flipped = factors.shape, factors.shape[::-1]
        if spec.shape not in (shape, flipped) or not spec.dtype.is_floating_point:
            raise MergeError(
                f"{self.label}: {name} has shape {spec.shape} and type {spec.dtype}, but the adapter's update of it is "
                f"{shape}; give the base that the adapter was trained on, unquantised and with its vocabulary"
            )
        if factors.is_embedding:
            self._require_own_table(name)
            return name, _Update(factors, is_flipped=True)
        if shape[0] == shape[1]:  # nothing but the model's kind tells
            said = bool(self.adapter.settings.get("fan_in_fan_out"))
            return name, _Update(factors, said or self.config.get("model_type") in FLIPPED)
        return name, _Update(factors, is_flipped=spec.shape == flipped)

    def _require_own_table(self, name: str) -> None:
        kinds = tuple(self.config.get("architectures") or ())
        if self.config.get("tie_word_embeddings", True) and any(kind.endswith(WITH_OUTPUT_TABLE) for kind in kinds):
            raise MergeError(
                f"{self.label}: {name} is the table of inputs and of outputs, and the adapter changes the inputs "
                "alone, so it cannot be folded; merge adapters with each other, or untie the tables"
            )
