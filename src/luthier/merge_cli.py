"""The commands of `luthier merge`: thin, no logic. What is no command's name is a recipe's file or a method's kind."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup


class _Group(TyperGroup):
    """`luthier merge ties ...` and `luthier merge recipe.yaml ...` are `luthier merge make ...`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["make", *args]
        return super().parse_args(ctx, args)


merge_app = typer.Typer(
    name="merge",
    cls=_Group,
    no_args_is_help=True,
    help="Make one model of several: luthier merge RECIPE.yaml OUT, or luthier merge ties --base B M1 M2 -o OUT.",
)

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
