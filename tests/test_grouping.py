"""Options by purpose: dataclasses become a command's options, and come back filled."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, get_args

import pytest
import typer
from typer.testing import CliRunner

from gemino.cli.edge import Command, new_app
from gemino.cli.grouping import grouped

_Shared = Annotated[int, typer.Option(min=0, help="How many.")]


@dataclass(frozen=True)
class Fruit:
    heading: ClassVar[str] = "What is bought"

    kind: Annotated[str, typer.Option("--fruit", "-f", help="Which.")]
    count: _Shared = 3


@dataclass(frozen=True)
class Way:
    heading: ClassVar[str] = "How it comes"

    by_bike: Annotated[bool, typer.Option("--by-bike", help="Not by car.")] = False


@grouped
def buy(
    shop: Annotated[str, typer.Argument(help="Where.")], fruit: Fruit, ctx: typer.Context, way: Way
) -> None:
    """Buy fruit."""
    typer.echo(f"{ctx.info_name} {shop} {fruit} {way}")


@pytest.fixture
def app() -> typer.Typer:
    app = new_app("A market.")
    app.command(cls=Command)(buy)
    return app


def test_options_come_back_in_their_dataclasses(app: typer.Typer) -> None:
    told = CliRunner().invoke(app, ["corner", "-f", "pears", "--by-bike"])
    assert told.output == "buy corner Fruit(kind='pears', count=3) Way(by_bike=True)\n"


def test_help_has_a_panel_for_each_and_its_own_option_in_the_last(app: typer.Typer) -> None:
    lines = CliRunner().invoke(app, ["--help"]).output.splitlines()
    said = [line for line in lines if "─ " in line or " --" in line]
    assert [line.strip("╭╮│─ *").split()[0] for line in said] == [
        *("Arguments", "What", "--fruit", "--count", "How", "--by-bike", "--help")
    ]
    assert "Buy fruit." in "".join(lines)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["corner"], "Missing option '--fruit'"),
        (["corner", "-f", "figs", "--count", "-1"], "greater than or equal to 0"),
    ],
)
def test_what_was_declared_holds(app: typer.Typer, arguments: list[str], said: str) -> None:
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 2
    assert said in told.output


def test_an_option_of_two_groups_stays_without_a_panel_of_its_own() -> None:
    """The same declaration may stand under one heading here and another one elsewhere."""
    _, said = get_args(_Shared)
    assert said.rich_help_panel is None


def test_two_options_of_one_name_are_refused() -> None:
    def twice(one: Fruit, other: Fruit) -> None:
        """Never called."""

    with pytest.raises(ValueError, match="duplicate parameter name: 'kind'"):
        grouped(twice)
