"""Whether a run has room, asked before its weights are loaded: if not, it goes on in smaller pieces or with
checkpointing, or it is refused.

Most runs are far from any limit: a rough count tells so at once, and only the others are rehearsed. What cannot be
rehearsed goes on, as a plan that fails is no reason for a run to.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from luthier.errors import LuthierError, TrainingError
from luthier.groundwork import Rows
from luthier.models.blank import read_configuration
from luthier.models.device import micro_batch_tokens
from luthier.models.load import Ask
from luthier.models.place import place_of
from luthier.planning import stages
from luthier.planning.amounts import written
from luthier.planning.fitting import fastest
from luthier.planning.plan import Room, room_of
from luthier.planning.subject import Subject, ready, subject_of
from luthier.recipe import Recipe

FAR = 2
"""Times that the rough count must fit for a run to be let through unrehearsed."""
BYTES_A_PARAMETER = 16
"""Weight, gradient and both of AdamW's averages, in fp32."""
BYTES_A_WIDTH, BYTES_A_PAIR, BYTES_A_WORD = 200, 16, 16
"""Of each token in each layer, what is kept of its states, of its attention to each other token, and of its logits:
more than was measured of any family."""
WEIGHTS = ("*.safetensors", "*.gguf")


def foresee(recipe: Recipe, rows: Rows) -> tuple[Recipe, list[str]]:
    """The recipe, in smaller micro-batches or with checkpointing where it fits only so, and notes on that.

    Raises TrainingError where it cannot fit, unless the recipe says that it need not.
    """
    if not recipe.training.require_memory:
        return recipe, []
    try:
        room = room_of(rows.device, None)
        settings = read_configuration(recipe.model, Ask.of(rows.task))
        most = rough(recipe, rows, settings)
        if room.memory is None or (most is not None and FAR * most < room.memory):
            return recipe, []
        return _within(room, recipe, subject_of(recipe, rows=rows))
    except TrainingError:
        raise
    except LuthierError:  # told where it belongs, when the model is loaded
        return recipe, []
    except Exception as error:  # custom code, or an operation that fake tensors do not know
        return recipe, [f"memory: this run could not be rehearsed ({type(error).__name__}), so it may run out of it"]


def rough(recipe: Recipe, rows: Rows, settings: PreTrainedConfig) -> int | None:
    """Bytes that a run takes at most, of the sizes of files and the configuration alone, and rather too many.

    None where the weights' file is not here.
    """
    place = Path(place_of(recipe.model))
    files = [place] if place.is_file() else [file for ending in WEIGHTS for file in place.glob(ending)]
    if not files:
        return None
    at_rest = BYTES_A_PARAMETER // 2 * sum(file.stat().st_size for file in files)  # two bytes a parameter, or more
    training = recipe.training
    known = [getattr(rows.task, name, None) for name in ("max_length", "max_source_length")]
    length = next((each for each in known if isinstance(each, int)), 1024)
    at_once = training.batch_size * length
    bound = training.micro_batch_tokens
    bound = micro_batch_tokens(rows.device) if bound == "auto" else bound
    if bound is not None:
        at_once = min(at_once, max(length, bound))
    layers, width = getattr(settings, "num_hidden_layers", 48), getattr(settings, "hidden_size", 2048)
    heads, words = getattr(settings, "num_attention_heads", 16), getattr(settings, "vocab_size", 100_000)
    of_token = layers * (BYTES_A_WIDTH * width + BYTES_A_PAIR * heads * length) + BYTES_A_WORD * words
    return int(at_rest + at_once * of_token)


def _within(room: Room, recipe: Recipe, subject: Subject) -> tuple[Recipe, list[str]]:
    with ready(subject) as made:
        stage, whole = stages.training(made), stages.loading(made)
        longest = int(max(made.prepared["length"][:]))
    assert room.memory is not None
    free = f"{written(room.memory)} are free"
    if whole is not None and not room.holds(whole.peak):
        raise TrainingError(
            f"memory: the weights take {written(whole.peak)} when they are loaded and saved, and {free}; "
            "model.dtype=bfloat16 halves that, and training.require_memory=false goes on all the same"
        )
    if room.holds(stage.peak):
        return recipe, []
    needs = f"a step of this run takes {written(stage.peak)}, and {free}"
    changed = fastest(subject, room, longest)
    if changed is None:
        raise TrainingError(
            f"memory: {needs}; luthier plan tells what would fit, and training.require_memory=false goes on all the "
            "same"
        )
    training = recipe.training.model_copy(update=changed)
    return recipe.model_copy(update={"training": training}), [f"memory: {needs}; so {_told(changed)}"]


def _told(changed: Mapping[str, Any]) -> str:
    """What becomes of a step, in words."""
    told = []
    if "micro_batch_size" in changed:
        told.append(f"it is computed {changed['micro_batch_size']} rows at once (training.micro_batch_size)")
    if "checkpointing" in changed:
        told.append("its blocks are computed once more in backward (training.checkpointing: blocks)")
    return " and ".join(told)
