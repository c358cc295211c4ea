"""What `gemino train` and `gemino personalize` share: a name for the result, and a processor."""

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from gemino.errors import GeminoError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, slots=True)
class Processor:
    """What of this machine is used."""

    heading: ClassVar[str] = "On which processor"

    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto"
    mixed_precision: Annotated[
        bool, typer.Option(help="Compute in bfloat16 where it does no harm; weights stay float32.")
    ] = True
    threads: Annotated[
        int, typer.Option(min=0, max=1024, help="CPU threads of each worker; 0: an equal share.")
    ] = 0

    def check(self) -> None:
        """Raise GeminoError for a device that there cannot be."""
        if self.device not in _DEVICES:
            raise GeminoError(f"--device must be auto, cpu or cuda, not {self.device!r}")


def is_name(name: str) -> bool:
    """Whether a folder of a model or an adapter may have this name."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> None:
    """Raise GeminoError for a name that no folder of a model or an adapter may have."""
    if not is_name(name):
        raise GeminoError(
            f"--name must be letters, digits, '.', '_' and '-', 64 at most, not {name!r}"
        )
