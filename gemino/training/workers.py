"""Several processes that train one network: started by torchrun, or one alone.

    torchrun --nproc-per-node 2 scripts/train.py clips/ --name mine

Each worker draws its own examples; gradients are averaged, so all hold the same weights. On a
CPU two workers of one thread each are faster than one of two threads, which wait for each other.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as distributed
from torch import nn


@dataclass(frozen=True, slots=True)
class Workers:
    """rank: this worker, 0 leads (it reports, looks and saves). count: how many there are."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Until all workers are here."""
        if self.count > 1:
            distributed.barrier()

    def average(self, parameters: Iterable[nn.Parameter], seconds: float) -> float:
        """Average all gradients over the workers, in place; returns the average of `seconds`.

        The clock travels along because the learning rate follows it: workers that disagreed on
        the time would take different steps and drift apart.
        """
        if self.count == 1:
            return seconds
        gradients = [p.grad for p in parameters if p.grad is not None]
        clock = torch.tensor([seconds], device=gradients[0].device)
        flat = torch.cat([*(x.flatten() for x in gradients), clock])
        distributed.all_reduce(flat)
        flat /= self.count
        at = 0
        for x in gradients:
            x.copy_(flat[at : at + x.numel()].view_as(x))
            at += x.numel()
        return float(flat[-1])


ALONE = Workers()


def join(device: str) -> Workers:
    """The workers that torchrun started, or this one alone."""
    if not distributed.is_torchelastic_launched():
        return ALONE
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return Workers(distributed.get_rank(), distributed.get_world_size())


def leave(workers: Workers) -> None:
    """Part from the others at the end."""
    if workers.count > 1:
        distributed.destroy_process_group()
