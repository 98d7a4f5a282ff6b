"""Memory that one training step gives back is there for the next.

Every call of a compiled program takes its scratch memory from the C library and returns
it at the end. From 32 MiB on glibc hands such a piece back to the system, and the next
call has it filled with zeros again, page by page. On a CPU that can take half of a
step. Threads have heaps of their own there, of 64 MiB at most, which go back to the
system as soon as they are empty; JAX runs larger programs in such a thread.
"""

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # M_... of <malloc.h>
_MOST = 2**31 - 1


def keep_freed() -> bool:
    """Has glibc keep freed memory for this process.

    Without mmap(2) and heaps a thread every allocation lies in the one heap, and that
    never shrinks: the process keeps the most that it ever had, and no other one can use
    it meanwhile. A `Run` and a sweep do this when they start; in a notebook or a script
    without them, call it before JAX makes its first array, as a thread keeps the heap
    that it has. No number changes.

    Returns:
        Whether it was done: False with other C libraries.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    settings = ((_TRIM_THRESHOLD, _MOST), (_MMAP_MAX, 0), (_ARENA_MAX, 1))
    done = [library.mallopt(name, value) == 1 for name, value in settings]
    return all(done)
