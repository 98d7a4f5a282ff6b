"""Memory that one training step gives back is there for the next.

Every call of a compiled program takes its scratch memory from the C library and returns
it at the end. From 32 MiB on glibc hands such a piece back to the system, and the next
call has it filled with zeros again, page by page. On a CPU that can take half of a
step. Threads have heaps of their own there, of 64 MiB at most, which go back to the
system as soon as they are empty; JAX runs larger programs in such a thread, unless it
is told to run them in the thread that calls them.
"""

import ctypes
import platform

import jax

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # M_... of <malloc.h>
_MOST = 2**31 - 1


def keep_freed() -> bool:
    """Has glibc keep freed memory for this process, and JAX use the main thread's.

    Without mmap(2) a program's allocations lie in the heap of the thread that runs it,
    and that of the main thread never shrinks: the process keeps the most that it ever
    had, and no other one can use it meanwhile. So that programs for the CPU run there,
    their dispatch is synchronous: the host waits for each of them, and what it would
    have done meanwhile is short, or is done for many steps in one call. One heap for
    all threads would do as well, but there they wait for each other. What an operation
    allocates in a thread of its own (`jnp.cumsum` does) is not reached.

    A `Run` and a sweep do this when they start; in a notebook or a script without them,
    call it before JAX makes its first array: later the dispatch stays as it is. No
    number changes.

    Returns:
        Whether it was done: False with other C libraries.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    jax.config.update("jax_cpu_enable_async_dispatch", val=False)
    library = ctypes.CDLL(None)
    settings = ((_TRIM_THRESHOLD, _MOST), (_MMAP_MAX, 0))
    done = [library.mallopt(name, value) == 1 for name, value in settings]
    return all(done)
