"""Many people, a few at a time: a folder of videos in, an adapter for each out, or a reason."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from io import StringIO
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gemino.adapters import FILE, find
from gemino.errors import GeminoError, MediaError, ModelError
from gemino.personal.cluster import run_on_ray
from gemino.personal.program import PersonalOptions, run
from gemino.training.material import SUFFIXES
from gemino.zoo import find as find_model


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one person. gain: of LPIPS; None without an adapter, or with one from before.

    failure: why there is none.
    """

    name: str
    gain: float | None = None
    minutes: float = 0.0
    failure: str | None = None


def people(folder: Path) -> dict[str, list[Path]]:
    """Videos by person: those of each folder in `folder`, and each video there by itself.

    Raises MediaError where there is none.
    """
    if not folder.is_dir():
        raise MediaError(f"{folder}: is not a folder; give one with a video or a folder a person")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        videos = sorted(path.iterdir()) if path.is_dir() else [path]
        videos = [video for video in videos if video.suffix.lower() in SUFFIXES]
        if videos:
            found.setdefault(path.name if path.is_dir() else path.stem, []).extend(videos)
    if not found:
        raise MediaError(f"{folder}: holds no videos, nor folders of them")
    return found


def run_many(
    videos: dict[str, list[Path]],
    options: PersonalOptions,
    workers: int,
    tell: Callable[[Outcome], None],
    ray: str | None = None,
) -> list[Outcome]:
    """An adapter for each person, by `workers` processes; outcomes in the order of `videos`.

    One that is there already, for the same weights, is kept. options: of each, but for videos and
    name. tell: hears of each as it ends. ray: address of the Ray cluster that does it. Interrupted,
    each goes on from its checkpoint next time. Raises RuntimeUnavailable where Ray is asked for and
    not there.
    """
    base = find_model(options.model)
    outcomes: dict[str, Outcome] = {}
    waiting: dict[str, PersonalOptions] = {}
    for name, some in videos.items():
        if _is_there(options.models / name, base.sha256):
            outcomes[name] = Outcome(name)
            tell(outcomes[name])
        else:
            waiting[name] = replace(options, videos=some, name=name)
    ended = _by_processes(waiting, workers) if ray is None else _by_ray(waiting, ray, workers)
    for name, outcome in ended:
        outcomes[name] = outcome
        tell(outcome)
    return [outcomes[name] for name in videos]


def _by_processes(
    waiting: dict[str, PersonalOptions], workers: int
) -> Iterator[tuple[str, Outcome]]:
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = {pool.submit(_one, job): name for name, job in waiting.items()}
        try:
            for job in as_completed(jobs):
                try:
                    yield jobs[job], job.result()
                except BrokenProcessPool:
                    yield jobs[job], _lost(jobs[job], "its process died")
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise


def _by_ray(
    waiting: dict[str, PersonalOptions], address: str, workers: int
) -> Iterator[tuple[str, Outcome]]:
    """The same, by Ray's workers: whose working folder is not ours."""
    jobs = {
        name: replace(
            job,
            videos=[video.resolve() for video in job.videos],
            model=str(find_model(job.model).path.resolve()),
            runs=job.runs.resolve(),
            models=job.models.resolve(),
        )
        for name, job in waiting.items()
    }
    return run_on_ray(jobs, address, workers, _one, _lost)


def _lost(name: str, why: str) -> Outcome:
    return Outcome(name, failure=f"{why}; run it alone")


def _one(options: PersonalOptions) -> Outcome:
    log = StringIO()
    try:
        result = run(options, Console(file=log, width=200))
    except GeminoError as error:
        return Outcome(options.name, failure=str(error))
    except OSError as error:
        return Outcome(options.name, failure=error.strerror or str(error))
    return Outcome(options.name, result.verdict.gain, result.minutes)


def _is_there(folder: Path, base_sha256: str) -> bool:
    try:
        return (folder / FILE).exists() and find(folder).base_sha256 == base_sha256
    except ModelError:
        return False


def summary(outcomes: list[Outcome]) -> Table:
    """A row a person."""
    table = Table("person", "LPIPS", "minutes", "")
    for one in outcomes:
        gain = "" if one.gain is None else f"{-one.gain:+.1%}"
        minutes = f"{one.minutes:.1f}" if one.minutes else ""
        if one.failure is not None:
            state = f"no adapter: {one.failure}"
        else:
            state = "kept from before" if one.gain is None else "written"
        table.add_row(one.name, gain, minutes, state)
    return table
