"""Sweeps whose processes are killed, and one that is left alone.

    killed.py KILLS SEED WORKERS flags of the sweep...

Everything is imported once; each process is a fork from before JAX has any device. The
last line printed is what happened, as JSON.
"""

import json
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import jax
import net

from jaxnets.run import compilation
from jaxnets.run import report as run_report
from jaxnets.sweeps import report
from jaxnets.sweeps.command import command

# Pictures take most of the time.
report._figures = lambda *arguments: {}
run_report.write = lambda *arguments: None


def forked(flags, log):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        process = os.fork()
    if process:
        return process
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    if "calm" not in flags:
        compilation.use_cache = only_read
    try:
        command({"net": lambda: net}, ["net", *flags])
        status = 0
    except SystemExit as stop:
        print(stop.code)
        status = 1
    except BaseException as error:
        import traceback

        traceback.print_exception(error)
        status = 1
    sys.stdout.flush()
    os._exit(status)


def only_read():
    """The cache that the calm sweep has filled: a kill then costs no entry of it."""
    jax.config.update("jax_compilation_cache_dir", str(compilation.cache_folder()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1e9)


def started(flags, folder, role):
    roles = [role] if role else []
    return forked([*flags, "--folder", folder, *roles], f"{folder}.log")


def ended(process, seconds):
    """Its exit status, or None if it still runs after so many seconds."""
    until = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(0.02)


def main(kills, seed, workers, flags):
    rng, done, folders = random.Random(seed), 0, []
    begun = time.monotonic()
    if ended(forked([*flags, "--folder", "calm"], "calm.log"), 600) != 0:
        raise SystemExit(Path("calm.log").read_text())
    seconds = time.monotonic() - begun
    while done < kills:
        folder = f"killed-{len(folders)}"
        folders.append(folder)
        roles = ["", *["--worker"] * workers]
        running = [started(flags, folder, role) for role in roles]
        while True:
            # Of the time that includes all compilations, which these need not wait for.
            status = ended(running[0], rng.uniform(0.05, 0.3) * seconds)
            if status == 0:
                break
            if status is not None:
                raise SystemExit(Path(f"{folder}.log").read_text())
            if done < kills:
                victim = rng.randrange(len(roles))
                os.kill(running[victim], signal.SIGKILL)
                if ended(running[victim], 60) == -signal.SIGKILL:
                    done += 1
                running[victim] = started(flags, folder, roles[victim])
        for helper in running[1:]:
            if ended(helper, 120) != 0:
                raise SystemExit(Path(f"{folder}.log").read_text())
    print(json.dumps({"kills": done, "folders": folders, "seconds": seconds}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
