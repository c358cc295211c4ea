"""Where a command ends: every error becomes one line and an exit code, never a traceback."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from gemino.errors import GeminoError

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count


def new_app(help_text: str) -> typer.Typer:
    """A command line in the house's manner: plain help, no traceback printer of its own."""
    return typer.Typer(
        cls=_Group,
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )


class Command(TyperCommand):
    """A command whose help shows no type beside an option that takes no value.

    --help stands in the panel of the option before it.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        params = _without_flags_types(super().get_params(ctx))
        *others, shows_help = params
        options = [param for param in others if param.param_type_name == "option"]
        if options:
            shows_help.rich_help_panel = getattr(options[-1], "rich_help_panel", None)
        return params


class _Group(TyperGroup):
    """Commands below one name, whose own help shows flags as `Command` does."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_flags_types(super().get_params(ctx))


def _without_flags_types(params: list[Any]) -> list[Any]:
    """`params`, of which help shows no type where they take no value."""
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


class OptionalValues(Command):
    """A command with options whose value may be left out. values: what they mean then."""

    values: ClassVar[Mapping[str, str]] = {}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(filled(args, self.values)))


def filled(arguments: Sequence[str], values: Mapping[str, str]) -> Iterator[str]:
    """`arguments`, with the value from `values` behind each option there that has none."""
    for at, argument in enumerate(arguments):
        yield argument
        is_bare = at + 1 == len(arguments) or arguments[at + 1].startswith("-")
        if argument in values and is_bare:
            yield values[argument]


def run(app: typer.Typer) -> None:
    """Run `app` on this process's arguments and exit, as `guard` does."""
    guard(lambda: app(standalone_mode=False))


def guard(main: Callable[[], Any]) -> None:
    """Run `main` and exit with what it returns.

    Exit code 2 with one line on standard error for a GeminoError, for a wrong use and for a file
    system that refuses; 130 after Ctrl-C.
    """
    try:
        sys.exit(main())
    except typer.TyperException as error:  # a wrong use; without words where help was shown
        if said := error.format_message().rstrip(".").replace("Value error, ", ""):
            command = getattr(getattr(error, "ctx", None), "command_path", "")
            _fail(f"{said} (see {f'{command} --help'.lstrip()})")
        sys.exit(EXIT_ERROR)
    except GeminoError as error:
        _fail(str(error))
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        _fail(f"{what}{error.strerror or error}")
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(EXIT_INTERRUPTED)


def _fail(message: str) -> None:
    line = " ".join(message.split())
    sys.stderr.write(f"error: {line}\n")
    sys.exit(EXIT_ERROR)
