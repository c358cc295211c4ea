"""Many points, in one process or in several.

The points of a clip, a size and a codec form a chain, from the highest rate down: below a codec's
floor there is nothing to measure, so a chain ends where a codec no longer follows.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial

from gemino import processes
from gemino.errors import GeminoError
from gemino.evaluation.bench import Bench, Record, Settings, Task, identity
from gemino.evaluation.rates import HOPELESS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one task. record: its figures; None where it failed. skipped: how many
    tasks below it need not be measured. failure: what went wrong, in one line."""

    task: Task
    record: Record | None
    skipped: int = 0
    failure: str = ""


@dataclass(slots=True)
class _Chain:
    """Tasks that differ in their rate alone, the highest first."""

    waiting: deque[Task] = field(default_factory=deque)

    def outcome(self, task: Task, result: Callable[[], Record]) -> Outcome:
        """Of `task`, whose figures `result` returns or fails to; ends the chain where it must."""
        try:
            record = result()
        except GeminoError as error:
            return Outcome(task, None, self._end(), str(error))
        follows = record["payload_kbps"] < HOPELESS * record["asked_kbps"]
        return Outcome(task, record, 0 if follows else self._end())

    def known(self, done: Mapping[str, Record]) -> Iterator[Outcome]:
        """Take the next tasks while they are done already."""
        while done and self.waiting:
            record = done.get(_key(identity(self.waiting[0])))
            if record is None:
                return
            yield self.outcome(self.waiting.popleft(), partial(_same, record))

    def _end(self) -> int:
        given_up = len(self.waiting)
        self.waiting.clear()
        return given_up


def run(
    tasks: Sequence[Task], settings: Settings, jobs: int, done: Sequence[Record] = ()
) -> Iterator[Outcome]:
    """Measure `tasks` with `jobs` processes; yield each as soon as it is there.

    done: points that need not be measured again, recognised by their identity. A task that fails
    ends its chain and is yielded as a failure. Raises GeminoError where a process dies.
    """
    known = {_key(record): record for record in done}
    ready: deque[_Chain] = deque()
    for chain in _chains(tasks):
        yield from chain.known(known)
        if chain.waiting:
            ready.append(chain)
    if not ready:
        return
    if jobs == 1:
        yield from _one_by_one(ready, Bench(settings), known)
    else:
        yield from _side_by_side(ready, settings, min(jobs, len(ready)), known)


def _one_by_one(
    ready: deque[_Chain], bench: Bench, known: Mapping[str, Record]
) -> Iterator[Outcome]:
    for chain in ready:
        while chain.waiting:
            task = chain.waiting.popleft()
            yield chain.outcome(task, partial(bench.measure, task))
            yield from chain.known(known)


def _side_by_side(
    ready: deque[_Chain], settings: Settings, jobs: int, known: Mapping[str, Record]
) -> Iterator[Outcome]:
    pool = processes.pool(jobs, _begin, (settings,))
    running: dict[Future[Record], tuple[Task, _Chain]] = {}
    try:
        while ready or running:
            while ready and len(running) < jobs:
                chain = ready.popleft()
                task = chain.waiting.popleft()
                running[pool.submit(_measure_there, task)] = (task, chain)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task, chain = running.pop(future)
                yield chain.outcome(task, future.result)
                yield from chain.known(known)
                if chain.waiting:  # next, while its clip is still in a worker's memory
                    ready.appendleft(chain)
    except BrokenProcessPool as error:
        raise GeminoError(
            "a process of the evaluation died (out of memory?); use fewer --jobs"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _chains(tasks: Sequence[Task]) -> list[_Chain]:
    chains: dict[tuple[str, int, str], _Chain] = {}
    for task in tasks:
        key = (task.name, task.size_px, task.spec.name)
        chains.setdefault(key, _Chain()).waiting.append(task)
    return [
        _Chain(deque(sorted(chain.waiting, key=lambda task: -task.kbps)))
        for chain in chains.values()
    ]


def _key(record: Record) -> str:
    named = ("clip", "source", "size", "codec", "model_sha256", "asked_kbps")
    return repr([record.get(name) for name in named])


def _same(record: Record) -> Record:
    return record


@dataclass(slots=True)
class _Process:
    """What a worker process holds on to between tasks."""

    bench: Bench | None = None


_HERE = _Process()


def _begin(settings: Settings) -> None:
    """Set a worker process up."""
    _HERE.bench = Bench(settings)


def _measure_there(task: Task) -> Record:
    assert _HERE.bench is not None
    return _HERE.bench.measure(task)
