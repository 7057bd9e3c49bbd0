"""The settings that say which pretrained model a run starts from."""

from typing import ClassVar, Literal

from luthier.component import Component


class ModelSource(Component):
    """A pretrained model: where it is, and how it is held."""

    shorthand: ClassVar[str] = "name"

    name: str
    """Hub id, folder, .gguf file, or package:NAME/PATH of either."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """How frozen weights are held; auto: float32. What is learnt is float32 in every case."""
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention"] = "auto"
    """Attention's implementation; auto: the one that is faster on the run's device. The last three need a GPU, and
    flash_attention its package."""
