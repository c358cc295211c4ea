"""Worker processes end with the process that started them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gemino import processes

_PARENT = """
import os, sys, time
from gemino import processes
if __name__ == "__main__":
    pool = processes.pool(2)
    print(*{pool.submit(os.getpid).result() for _ in range(8)}, flush=True)
    pool.submit(time.sleep, 600)
    time.sleep(600)
"""


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


def _double(number: int) -> int:
    return 2 * number


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(_PARENT)
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [int(word) for word in parent.stdout.readline().split()]
        assert workers
        assert all(_runs(pid) for pid in workers)
        parent.kill()
    deadline = time.monotonic() + 30
    while any(_runs(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_runs(pid) for pid in workers)


def test_workers_work() -> None:
    with processes.pool(1, os.putenv, ("GEMINO_TEST", "1")) as pool:
        assert pool.submit(_double, 21).result() == 42


def test_peak_memory_is_that_of_this_process() -> None:
    before = processes.peak_rss_mb()
    block = bytearray(50_000_000)
    block[::4096] = b"x" * len(block[::4096])
    assert 10 < before <= processes.peak_rss_mb() < 50_000
