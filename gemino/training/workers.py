"""Several processes that train one network: started by torchrun, or one alone.

    torchrun --nproc-per-node 2 -- scripts/train.py clips/ --name mine

Each worker draws its own examples; gradients are averaged, so all hold the same weights. Two
workers with a batch of two walk the very path of one worker with two parts of two: the average is
the same sum. On a CPU two workers of one thread each are faster than one of two threads, which
wait for each other.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as distributed
from torch import nn

from gemino.errors import GeminoError

_PATIENCE = timedelta(hours=24)
"""How long workers wait for the one that builds the sequences of a large folder of clips."""


@dataclass(frozen=True, slots=True)
class Workers:
    """rank: this worker, 0 leads (it reports, looks and saves). count: how many there are.
    device: of torch, this worker's own."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Until all workers are here."""
        if self.count > 1:
            distributed.barrier()

    def check_equal(self, value: int, what: str) -> None:
        """Raise GeminoError where `value`, such as the steps done, is not the same for all."""
        if self.count == 1:
            return
        ends = torch.tensor([value, -value], device=self.device)
        distributed.all_reduce(ends, distributed.ReduceOp.MAX)
        if int(ends[0]) != value or int(ends[1]) != -value:
            raise GeminoError(
                f"workers differ in {what}: --cache and --runs must be folders that all share"
            )

    def average(
        self, parameters: Iterable[nn.Parameter], seconds: float, stops: bool
    ) -> tuple[float, bool]:
        """Average all gradients over the workers, in place.

        Returns the average of `seconds`, what this step took, and whether any worker `stops`.
        Both travel along because all must agree: the learning rate follows the time, and a worker
        that left alone would leave the others waiting.
        """
        if self.count == 1:
            return seconds, stops
        gradients = [p.grad for p in parameters if p.grad is not None]
        news = torch.tensor([seconds, float(stops)], device=gradients[0].device)
        flat = torch.cat([*(x.flatten() for x in gradients), news])
        distributed.all_reduce(flat)
        flat /= self.count
        at = 0
        for x in gradients:
            x.copy_(flat[at : at + x.numel()].view_as(x))
            at += x.numel()
        return float(flat[-2]), bool(flat[-1] > 0)


def join(device: str) -> Workers:
    """The workers that torchrun started, or this one alone; `device`: auto, cpu or cuda.

    Raises GeminoError where there is no such device, or not one for each worker.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise GeminoError("this machine has no usable CUDA device; use --device cpu")
    if not distributed.is_torchelastic_launched():
        return Workers(device=device)
    if device == "cuda":
        which = distributed.get_node_local_rank()
        if which >= torch.cuda.device_count():
            raise GeminoError(
                f"more workers than GPUs: use --nproc-per-node {torch.cuda.device_count()}"
            )
        device = f"cuda:{which}"
        torch.cuda.set_device(which)
    if not distributed.is_initialized():
        backend = "nccl" if device.startswith("cuda") else "gloo"
        distributed.init_process_group(backend, timeout=_PATIENCE)
    return Workers(distributed.get_rank(), distributed.get_world_size(), device)


def leave(workers: Workers) -> None:
    """Part from the others at the end."""
    if workers.count > 1:
        distributed.destroy_process_group()
