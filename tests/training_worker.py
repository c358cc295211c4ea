"""What the tests of training start as processes of their own: `scripts/train.py`, observed.

    python tests/training_worker.py STEP CLIPS --name NAME ...

Every worker leaves its weights beside the checkpoint, not the leading one alone, and what it is
told when workers disagree. In step STEP, between its two parts, the process is killed by a signal
that it cannot handle; -1: never.
"""

import os
import signal
import sys
from pathlib import Path

from safetensors.torch import save_file

from gemino.cli.main import main
from gemino.errors import GeminoError
from gemino.training.clips import Batch, Sampler
from gemino.training.trainer import Trainer


def observe(fatal_step: int) -> None:
    """Put the observer and the killer into place."""
    save, draw = Trainer.save, Sampler.draw

    def save_all(trainer: Trainer, folder: Path) -> None:
        save(trainer, folder)
        rank = trainer.workers.rank
        path = folder / f"worker{rank}.safetensors"
        save_file({key: x.contiguous() for key, x in trainer.model.state_dict().items()}, path)
        try:
            trainer.workers.check_equal(rank, "rank")
        except GeminoError as error:
            (folder / f"worker{rank}.txt").write_text(str(error))

    def draw_or_die(sampler: Sampler, step: int, part: int = 0) -> Batch:
        if (step, part) == (fatal_step, 1):
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(sampler, step, part)

    Trainer.save = save_all  # type: ignore[method-assign, assignment]
    Sampler.draw = draw_or_die  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    observe(int(sys.argv.pop(1)))
    sys.argv.insert(1, "train")
    main()
