"""The settings that say which pretrained model a run starts from."""

from typing import ClassVar, Literal, Self

from luthier.component import Component
from luthier.extras import require


class ModelSource(Component):
    """A pretrained model: where it is, and how it is held."""

    shorthand: ClassVar[str] = "name"

    name: str
    """Hub id, folder, .gguf file, or package:NAME/PATH of either."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """How frozen weights are held; auto: float32, but while a run trains in bf16, those of a file in bf16 as they are
    there, which rounds nothing; beside quantised ones as training.precision computes. bfloat16: always, and what is
    saved is rounded to it. What is learnt is float32 in every case."""
    quantize: Literal["none", "nf4", "int8"] = "none"
    """How the blocks' linear layers are held, which then stay frozen: nf4, 4.127 bits a weight (QLoRA); int8, 8."""
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention"] = "auto"
    """Attention's implementation; auto: the one that is faster on the run's device. The last three need a GPU, and
    flash_attention its package."""

    def require(self) -> None:
        """Raise MissingExtra where a part that this needs is not installed."""
        if self.quantize != "none":
            require("bitsandbytes", extra="quantize", needed_for=f"model.quantize: {self.quantize}")

    def settled(self, precision: str) -> Self:
        """The same with `auto` filled in where it depends on the run's arithmetic."""
        if self.quantize == "none" or self.dtype != "auto":
            return self
        return self.model_copy(update={"dtype": "bfloat16" if precision == "bf16" else "float32"})

    def narrows(self, precision: str) -> bool:
        """Whether a run in this arithmetic holds frozen weights in bf16 where that rounds nothing."""
        return self.dtype == "auto" and self.quantize == "none" and precision == "bf16"
