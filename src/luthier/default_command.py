"""A group of commands of which one need not be named: `luthier merge ties ...` is `luthier merge make ties ...`."""

from typing import Any, ClassVar

from typer.core import TyperGroup


class DefaultCommand(TyperGroup):
    """What is no command's name, nor asks for help, belongs to the default one."""

    default: ClassVar[str]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] != "--help" and args[0] not in self.commands:
            args = [self.default, *args]
        return super().parse_args(ctx, args)
