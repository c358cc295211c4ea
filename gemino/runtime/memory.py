"""Keeps freed memory for the next frame."""

import ctypes
import ctypes.util
import sys

# mallopt's parameters, from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc refuses more
_NEVER = (1 << 31) - 1


def keep_freed_memory() -> None:
    """Ask glibc's allocator not to return large blocks to the system after every use.

    A frame allocates and frees dozens of blocks of megabytes. By default each is mapped, cleared
    page by page and unmapped again: a quarter of a frame's time, more on virtual machines. Does
    nothing where the C library is another one.
    """
    if not sys.platform.startswith("linux"):
        return
    name = ctypes.util.find_library("c")
    mallopt = getattr(ctypes.CDLL(name), "mallopt", None) if name else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
        mallopt(_M_ARENA_MAX, 1)
