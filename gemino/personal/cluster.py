"""Jobs on a Ray cluster: a job a person, wherever a core is free.

Every node needs this project and the folders that jobs read and write, under the same paths. Who
can reach a Ray cluster can run programs on it; so does Ray's own advice: keep it in a network of
your own.
"""

import socket
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any, TypeVar

from gemino.errors import RuntimeUnavailable

LOCAL = "local"
"""The address of a cluster on this machine alone, started for these jobs."""
_PATIENCE_S = 5.0
_Job = TypeVar("_Job")
_Done = TypeVar("_Done")


def run_on_ray(
    jobs: Mapping[str, _Job],
    address: str,
    workers: int,
    work: Callable[[_Job], _Done],
    lost: Callable[[str, str], _Done],
) -> Iterator[tuple[str, _Done]]:
    """What `work` makes of each job, by name, as they end; `workers` at a time.

    address: HOST:PORT of a cluster, "auto" for the one that this machine is part of, or `LOCAL`.
    lost: what is to be said of a job whose worker died, from its name and why. Raises
    RuntimeUnavailable where Ray is not installed, or no cluster answers.
    """
    if find_spec("ray") is None:
        raise RuntimeUnavailable("--ray needs Ray: pip install 'gemino[ray]'")
    import ray

    if address not in (LOCAL, "auto"):
        _check(address)
    own: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False}
    try:
        ray.init(
            address=address,
            configure_logging=False,
            log_to_driver=False,
            **(own if address == LOCAL else {}),
        )
    except (ConnectionError, ValueError, OSError) as error:
        raise _silent(address) from error
    try:
        remote = ray.remote(num_cpus=1, max_retries=0)(work)
        waiting = list(jobs)
        under_way: dict[object, str] = {}
        while waiting or under_way:
            while waiting and len(under_way) < workers:
                name = waiting.pop(0)
                under_way[remote.remote(jobs[name])] = name
            (done, *_), _ = ray.wait(list(under_way), num_returns=1)
            name = under_way.pop(done)
            try:
                yield name, ray.get(done)
            except ray.exceptions.RayTaskError as error:
                yield name, lost(name, f"its job failed ({error.cause!r})")
            except ray.exceptions.RayError as error:
                yield name, lost(name, str(error).splitlines()[0])
    finally:
        ray.shutdown()


def _check(address: str) -> None:
    """Ray itself would wait for a cluster for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _PATIENCE_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _silent(address) from error


def _silent(address: str) -> RuntimeUnavailable:
    return RuntimeUnavailable(
        f"no Ray cluster answers at {address!r}: start one with ray start --head, and give its"
        " HOST:PORT"
    )
