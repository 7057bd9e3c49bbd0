"""The commands of `luthier merge`: thin, no logic. What is no command's name is a recipe's file or a method's kind."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from luthier.default_command import DefaultCommand


class _Group(DefaultCommand):
    """`luthier merge ties ...` and `luthier merge recipe.yaml ...` are `luthier merge make ...`."""

    default = "make"


merge_app = typer.Typer(
    name="merge",
    cls=_Group,
    no_args_is_help=True,
    help="Make one model of several: luthier merge RECIPE.yaml OUT, or luthier merge ties --base B M1 M2 -o OUT.",
)

Groups = Literal["whole", "thirds", "roles"]
Overwrite = Annotated[bool, typer.Option(help="Replace what is there.")]
Base = Annotated[str | None, typer.Option(help="The model that the others began as.")]


@merge_app.command()
def make(
    what: Annotated[str, typer.Argument(help="A recipe (Luthier's or mergekit's), or a kind: linear, ties ...")],
    models: Annotated[list[str] | None, typer.Argument(help="Models to merge; after a recipe, the output.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder of the merged model.")] = None,
    base: Base = None,
    weight: Annotated[list[float] | None, typer.Option(help="Of each model, in their order; one: of all.")] = None,
    density: Annotated[list[float] | None, typer.Option(help="Share kept of what each model learnt.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="Any setting of the kind, as scale=0.7.")] = None,
    style: Annotated[str | None, typer.Option(help="paper, mergekit or peft, where they differ.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Of the written weights; none: as the base's are.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="union, base, or a model: whose words it knows.")] = None,
    statistics: Annotated[list[str] | None, typer.Option(help="Of each model, for fisher and regmean.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Tell what would be done; write nothing.")] = False,
    evaluate: Annotated[list[str] | None, typer.Option(help="Run or recipe to score parents and child on.")] = None,
    memory: Annotated[str, typer.Option(help="For the parts of tensors in hand.")] = "1GB",
    threads: Annotated[int | None, typer.Option(min=1, help="None: one for each core.")] = None,
    shard: Annotated[str, typer.Option(help="Most bytes of a weights file.")] = "5GB",
    overwrite: Overwrite = False,
    check: Annotated[bool, typer.Option(help="Load the result, compare its weights, run it once.")] = True,
) -> None:
    """Merge models; one that was killed goes on where it was."""
    from luthier.merge_commands import merge_models

    asked = {"weight": weight, "density": density, "set": setting, "statistics": statistics}
    said = {"base": base, "style": style, "dtype": dtype, "tokenizer": tokenizer}
    takes = {"memory": memory, "threads": threads, "shard": shard, "overwrite": overwrite, "check": check}
    merge_models(what, models or [], output, asked, said, takes, only_plan=plan, evaluate=evaluate or [])


@merge_app.command()
def inspect(
    models: Annotated[list[str], typer.Argument(help="Models that are to be merged.")],
    base: Annotated[str, typer.Option(help="The model that they began as.")],
    density: Annotated[float, typer.Option(help="Share of each change that TIES would keep.")] = 0.2,
    json: Annotated[bool, typer.Option("--json", help="Write the figures as JSON.")] = False,
    page: Annotated[Path | None, typer.Option(help="Write a page with heat maps.")] = None,
) -> None:
    """Tell how far each model went, where they agree, and whether a merge will hurt."""
    from luthier.merge_commands import inspect_models

    inspect_models(models, base, density, as_json=json, page=page)


@merge_app.command()
def search(
    kind: Annotated[str, typer.Argument(help="Whose settings are searched: task-arithmetic, ties, linear ...")],
    models: Annotated[list[str], typer.Argument(help="Models to merge.")],
    run: Annotated[list[str], typer.Option("--evaluate", help="Run whose validation rows judge; one for each task.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the search.")],
    base: Base = None,
    groups: Annotated[Groups, typer.Option(help="Tensors with settings of their own.")] = "whole",
    candidates: Annotated[int, typer.Option(min=1, help="Merges that are tried.")] = 60,
    seconds: Annotated[float | None, typer.Option(min=1, help="None begins after so long.")] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Most validation rows of a task.")] = None,
    worst: Annotated[bool, typer.Option(help="Judge by the worst task, in place of the mean.")] = False,
    seed: Annotated[int, typer.Option(help="Of the candidates.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on; nothing is judged twice.")] = False,
) -> None:
    """Find weights and densities on validation rows; nothing but the best recipe is written."""
    from luthier.merge_commands import search_merge

    asked = {"kind": kind, "groups": groups, "num_candidates": candidates, "seed": seed}
    how = {**asked, "over": "minimum" if worst else "mean", **({"seconds": seconds} if seconds else {})}
    search_merge(models, base, run, output, how, limit=rows, resume=resume)


@merge_app.command()
def adapters(
    kind: Annotated[str, typer.Argument(help="concatenate (exact), svd, linear, ties, dare-ties ...")],
    folders: Annotated[list[Path], typer.Argument(help="Folders of LoRAs of one base.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the merged adapter.")],
    weight: Annotated[list[float] | None, typer.Option(help="Of each adapter; -1 takes away.")] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="To which the product is cut back.")] = None,
    energy: Annotated[float | None, typer.Option(help="Or as few ranks as keep this share.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="Any setting of the kind, as density=0.5.")] = None,
    factors: Annotated[bool, typer.Option(help="Merge A and B apart, as PEFT does.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Make one LoRA of several; of one, a scaled or negated one."""
    from luthier.merge_commands import merge_adapters

    asked = {"weight": weight, "rank": rank, "energy": energy, "set": setting}
    merge_adapters(kind, folders, output, asked, on_factors=factors, overwrite=overwrite)


@merge_app.command()
def extract(
    model: Annotated[str, typer.Argument(help="The tuned model.")],
    base: Annotated[str, typer.Option(help="What it was tuned from.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the adapter.")],
    rank: Annotated[int | None, typer.Option(min=1, help="Of each layer; 16 where no energy is said.")] = None,
    energy: Annotated[float | None, typer.Option(help="Or as few ranks as keep this share.")] = None,
    whole: Annotated[str, typer.Option(help="What else is kept: none, head, changed, or modules a,b.")] = "head",
    overwrite: Overwrite = False,
) -> None:
    """Make a LoRA of the difference between two models."""
    from luthier.merge_commands import extract_adapter

    extract_adapter(model, base, output, rank, energy, whole, overwrite=overwrite)


@merge_app.command()
def statistics(
    run: Annotated[str, typer.Argument(help="A finished run.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the statistics.")],
    inputs: Annotated[bool, typer.Option(help="For regmean, in place of fisher.")] = False,
    rows: Annotated[int, typer.Option(min=1, help="Training rows.")] = 256,
    device: Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")] = "auto",
) -> None:
    """Gather what fisher and regmean must know of a run's model, by a pass over its training rows."""
    from luthier.merge_commands import gather_statistics

    gather_statistics(run, output, "inputs" if inputs else "fisher", rows, device)
