"""Keeps freed memory for the next frame, and gives back what no frame will need."""

import ctypes
import ctypes.util
import sys
from collections.abc import Callable

# mallopt's parameters, from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc refuses more
_NEVER = (1 << 31) - 1


def keep_freed_memory() -> None:
    """Ask glibc's allocator not to return large blocks to the system after every use.

    A frame allocates and frees dozens of blocks of megabytes. By default each is mapped, cleared
    page by page and unmapped again, which costs most on virtual machines. Does nothing where the C
    library is another one.
    """
    mallopt = _of_libc("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
        mallopt(_M_ARENA_MAX, 1)


def give_back_memory() -> None:
    """Return what is free now to the system: after work that is not done for every frame.

    Recording a program frees a hundred megabytes that frames would never fill again. What a
    frame does need is mapped anew once.
    """
    trim = _of_libc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_libc(name: str) -> Callable[..., int] | None:
    """A function of glibc; None where the C library is another one."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.util.find_library("c")
    return getattr(ctypes.CDLL(library), name, None) if library else None
