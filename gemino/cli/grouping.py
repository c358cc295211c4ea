"""Options declared by purpose: a dataclass for those that stand under one heading of the help."""

import copy
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Annotated, Any, get_args, get_type_hints

from typer.models import ParameterInfo


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """`command`, as typer takes it: each argument that is a dataclass becomes options.

    The dataclass's fields are declared as a command's arguments are, `Annotated[T, Option(...)]`,
    each with a default; its attribute `heading` is the panel of the help that they stand in.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}

    @functools.wraps(command)
    def collect(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{one.name: values.pop(one.name) for one in fields(group)})
        command(**values)

    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            parameters.extend(_options(groups[name]))
        else:
            kind = inspect.Parameter.KEYWORD_ONLY  # those before options may have no default
            parameters.append(parameter.replace(annotation=hints[name], kind=kind))
    collect.__annotations__ = {one.name: one.annotation for one in parameters}
    vars(collect)["__signature__"] = inspect.Signature(parameters)
    return collect


def _options(group: Any) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        kind, said = get_args(hints[field.name])
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_default(field),
            annotation=Annotated[kind, _under(group.heading, said)],
        )


def _default(field: "Field[Any]") -> Any:
    return inspect.Parameter.empty if field.default is MISSING else field.default


def _under(heading: str, said: ParameterInfo) -> ParameterInfo:
    """`said` of one command stays as it is: another may say the same under its own heading."""
    placed = copy.copy(said)
    placed.rich_help_panel = heading
    return placed
