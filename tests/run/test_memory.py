"""What a step gives back to the system, it would have to be given anew."""

import platform
import textwrap

import pytest

FAULTS = textwrap.dedent("""
    import ctypes, resource, sys
    import jax, jax.numpy as jnp
    from jaxnets.run.memory import keep_freed

    # PR_SET_THP_DISABLE: a fault is of one page everywhere, and of no huge one
    assert ctypes.CDLL(None).prctl(41, 1, 0, 0, 0) == 0
    if sys.argv[1] == "kept":
        assert keep_freed()

    @jax.jit
    def step(x):  # needs 64 MiB on the way
        large = jax.lax.optimization_barrier(x[:, None] + jnp.arange(4096.0)[None, :])
        return large @ x

    def faults():
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    x = jnp.zeros(4096)
    for _ in range(20):  # pieces of the heap still move
        step(x).block_until_ready()
    found = []
    for _ in range(9):
        before = faults()
        step(x).block_until_ready()
        found.append(faults() - before)
    print(sorted(found)[4])  # the median: the heap may move once more
""")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_the_next_step_gets_the_memory_of_the_last(warm, surroundings, tmp_path):
    def faults(how):
        done = warm.run(["-c", FAULTS, how], cwd=tmp_path, env=surroundings())
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    bare, kept = faults("bare"), faults("kept")
    assert bare >= 64 * 2**20 / 4096  # pages of 4 KiB
    assert kept < bare / 20
