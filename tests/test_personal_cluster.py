"""People on the machines of a Ray cluster: here two workers of a cluster on this machine."""

import importlib.util
import os
import time
from pathlib import Path

import pytest

from gemino.cli.main import main
from gemino.errors import RuntimeUnavailable
from gemino.personal import cluster

NO_RAY = importlib.util.find_spec("ray") is None
WITH_RAY = pytest.mark.skipif(NO_RAY, reason="needs Ray: pip install gemino[ray]")
pytestmark = pytest.mark.timeout(300)


@WITH_RAY
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_two_workers_share_the_jobs_and_one_that_dies_is_told(tmp_path: Path) -> None:
    def work(job: str) -> str:
        """Waits until another worker is there too, or dies or fails as it is told."""
        if job == "dies":
            os._exit(3)
        if job == "fails":
            raise ValueError(job)
        (tmp_path / f"{job}.here").write_text(str(os.getpid()))
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob("*.here"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        return f"{job} by {os.getpid()}"

    def lost(name: str, why: str) -> str:
        return f"{name} lost: {why}"

    jobs = {name: name for name in ("ann", "bob", "dies", "fails")}
    done = dict(cluster.run_on_ray(jobs, cluster.LOCAL, 2, work, lost))
    assert set(done) == set(jobs)
    assert done["ann"].startswith("ann by ")
    assert done["ann"].split()[-1] != done["bob"].split()[-1]
    assert done["dies"].startswith("dies lost: ")
    assert "\n" not in done["dies"]
    assert done["fails"] == "fails lost: its job failed (ValueError('fails'))"


@WITH_RAY
@pytest.mark.parametrize("address", ["127.0.0.1:9", "nowhere", ":", "127.0.0.1:99999"])
def test_a_cluster_that_is_not_there_is_told_at_once(address: str) -> None:
    with pytest.raises(RuntimeUnavailable, match="no Ray cluster answers at"):
        list(cluster.run_on_ray({"ann": 1}, address, 1, str, lambda name, why: name + why))


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda _: None)
    with pytest.raises(RuntimeUnavailable, match=r"pip install 'gemino\[ray\]'"):
        list(cluster.run_on_ray({"ann": 1}, cluster.LOCAL, 1, str, lambda name, why: name + why))


def test_a_cluster_is_for_many_people(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "sys.argv", ["gemino", "personalize", "me.mp4", "--name", "me", "--ray", "auto"]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "--ray goes with --many FOLDER" in capfd.readouterr().err
