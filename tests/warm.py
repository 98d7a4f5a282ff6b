"""Processes for tests that need not pay for imports: forks of one warm parent.

`Warm.start` is `subprocess.Popen` for a Python program whose process is forked from a
parent that has imported JAX and the package, but has no JAX device yet. The rest is as
in a fresh interpreter: arguments, folder, environment, streams, signals, exit handlers
and exit status are the child's own. Where the environment asks for something that is
read during imports only, the start is a true one.

Not as in a fresh interpreter: what was imported stays imported; standard input, the
seed of `hash`, NumPy's global generator and most addresses are the parent's. So where
two processes are compared bit for bit, one of them is started truly.
"""

import array
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import types
import warnings
from pathlib import Path

# Read when Python, JAX, XLA or matplotlib start: a fork would not see another value.
_ON_START = ("JAX", "XLA_", "PYTHON", "TF_", "MPL", "HOME", "XDG_", "TMPDIR")
_SEEN_LATER = (
    "JAX_COMPILATION_CACHE_DIR",  # `jaxnets.run.compilation` reads it
    "JAX_NUM_CPU_DEVICES",  # `_become` tells JAX, which has no device yet
)
_PRELOADED = (
    "jax",
    "flax.linen",
    "optax",
    "orbax.checkpoint",
    "optuna",
    "tyro",
    "tqdm",
    "sklearn.datasets",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "tensorboardX",
    "PIL.Image",
    "jaxnets.run.command",
    "jaxnets.run.report",
    "jaxnets.run.records",
    "jaxnets.data.feeds.images",
    "jaxnets.data.generated.digits",
    "jaxnets.learners.averaged",
    "jaxnets.learners.optimizers",
    "jaxnets.learners.schedules",
    "jaxnets.learners.supervised",
    "jaxnets.models.convnet",
    "jaxnets.models.mlp",
    "jaxnets.tasks.classification",
    "jaxnets.sweeps.command",
    "jaxnets.plots.runs",
)


class Warm:
    """A warm parent, started with the first child; `close` ends it.

    Args:
        env: The environment of the parent. A child whose start-up variables differ
            from it is started truly.
    """

    def __init__(self, env) -> None:
        self._env, self._server, self._process = env, None, None

    def start(
        self,
        arguments,
        *,
        cwd,
        env,
        stdout=None,
        stderr=None,
        text=True,
        report=True,
        true_start=False,
    ):
        """Returns a running child.

        Args:
            arguments: As for `python`: a path, `-m` and a module or `-c` and a program,
                with what follows.
            cwd: Its folder.
            env: Its whole environment.
            stdout: None, an open file or descriptor, or `subprocess.PIPE`.
            stderr: As `stdout`, or `subprocess.STDOUT`.
            text: Whether its streams are of text.
            report: Whether its runs write a report; a child that is started truly
                always does. A report is a third of the time of a small run.
            true_start: Whether to start an interpreter, whatever the environment.
        """
        arguments = [str(word) for word in arguments]
        if true_start or _on_start(env) != _on_start(self._env):
            return subprocess.Popen(
                [sys.executable, *arguments],
                cwd=cwd,
                env=env,
                stdout=stdout,
                stderr=stderr,
                text=text,
            )
        if self._server is None:
            self._server, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, __file__, str(theirs.fileno())],
                    env=self._env,
                    pass_fds=[theirs.fileno()],
                )
        request = {"arguments": arguments, "cwd": str(cwd), "env": env}
        request["report"] = report
        return Child(self._server, request, stdout, stderr, text=text)

    def run(self, arguments, *, timeout=300, **how):
        """As `subprocess.run`, with both streams captured as text.

        Raises:
            subprocess.TimeoutExpired: If it takes longer than so many seconds; it is
                killed.
        """
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with self.start(arguments, **pipes, **how) as child:
            try:
                out, err = child.communicate(timeout=timeout)
            except BaseException:
                child.kill()
                raise
        return subprocess.CompletedProcess(arguments, child.returncode, out, err)

    def close(self):
        """Ends the parent; children that still run go on alone."""
        if self._server is not None:
            self._server.close()
            self._process.wait()
            self._server = None


@contextlib.contextmanager
def ended():
    """Gives a list for processes; those that still run when it is left are killed.

    A test that fails in the middle would leave them running otherwise.
    """
    started = []
    yield started
    for child in started:
        with child:  # closes its streams, and waits
            child.kill()


class Child:
    """A forked process: what tests use of `subprocess.Popen`."""

    def __init__(self, server, request, stdout, stderr, *, text) -> None:
        self.args, self.returncode, self._readers = request["arguments"], None, {}
        self.stdout, out = _piped(1 if stdout is None else stdout, text)
        stderr = out if stderr == subprocess.STDOUT else stderr
        self.stderr, err = _piped(2 if stderr is None else stderr, text)
        self._line, theirs = socket.socketpair()
        with contextlib.ExitStack() as stack:
            stack.callback(theirs.close)
            for stream, descriptor in ((self.stdout, out), (self.stderr, err)):
                if stream is not None:
                    stack.callback(os.close, descriptor)
            descriptors = array.array("i", [theirs.fileno(), out, err])
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)
            server.sendmsg([b"!"], [rights])
            self._line.sendall(json.dumps(request).encode() + b"\n")
        self._answers = self._line.makefile("r")
        answer = self._answers.readline()
        if not answer:
            raise RuntimeError("the warm parent has died: what it printed says of what")
        self.pid = int(answer)

    def poll(self):
        """The exit status, or None while it runs."""
        if self.returncode is None and select.select([self._line], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout=None):
        """Waits for the exit status.

        Raises:
            subprocess.TimeoutExpired: If it still runs after so many seconds.
        """
        if self.returncode is None:
            if not select.select([self._line], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            # Nothing: the parent is gone, and with it what it knew.
            self.returncode = int(self._answers.readline() or -signal.SIGKILL)
            self._answers.close()
            self._line.close()
        return self.returncode

    def communicate(self, timeout=None):
        """Reads its streams to their ends and waits for the exit status.

        Raises:
            subprocess.TimeoutExpired: If it still runs after so many seconds.
        """
        for name in ("stdout", "stderr"):
            stream = getattr(self, name)
            if stream is not None and not stream.closed and name not in self._readers:
                self._readers[name] = _Reader(stream)
        self.wait(timeout)
        texts = {name: reader.text() for name, reader in self._readers.items()}
        return texts.get("stdout"), texts.get("stderr")

    def send_signal(self, number):
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        """Sends SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        for name in ("stdout", "stderr"):
            stream = getattr(self, name)
            if stream is not None and name not in self._readers:
                stream.close()
        self.wait()
        for reader in self._readers.values():
            reader.join()


class _Reader(threading.Thread):
    def __init__(self, stream) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self.start()

    def run(self):
        self._text = self._stream.read()
        self._stream.close()

    def text(self):
        self.join()
        return self._text


def _on_start(env):
    return {
        name: value
        for name, value in env.items()
        if name.startswith(_ON_START) and name not in _SEEN_LATER
    }


def _piped(wanted, text):
    """Our end of a stream, if it is a pipe, and the descriptor for the child."""
    if wanted == subprocess.PIPE:
        ours, theirs = os.pipe()
        return open(ours, "r" if text else "rb"), theirs
    return None, wanted if isinstance(wanted, int) else wanted.fileno()


# ------------------------------------------------------------------ the warm parent


def _served(server):
    """Forks for every request; returns the request in the child, None at the end."""
    running = {}
    wake, woken = os.pipe()
    for end in (wake, woken):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # Ctrl-C in a terminal reaches the whole group; the tests end this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([server, wake], [], [])
        if wake in ready:
            os.read(wake, 4096)
            _report(running)
        if server in ready:
            byte, descriptors, _, _ = socket.recv_fds(server, 1, 3)
            if not byte:
                return None
            line = socket.socket(fileno=descriptors[0])
            request = json.loads(line.makefile("r").readline())
            with warnings.catch_warnings():
                # NumPy has threads; what they hold is prepared for a fork.
                warnings.simplefilter("ignore", DeprecationWarning)
                process = os.fork()
            if not process:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                for other in (server, line, *running.values()):
                    other.close()
                for end in (wake, woken):
                    os.close(end)
                for number, descriptor in enumerate(descriptors[1:], 1):
                    os.dup2(descriptor, number)
                    os.close(descriptor)
                return request
            for descriptor in descriptors[1:]:
                os.close(descriptor)
            running[process] = line
            line.sendall(f"{process}\n".encode())


def _report(running):
    """Tells the tests of the children that have ended."""
    while running:
        process, status = os.waitpid(-1, os.WNOHANG)
        if not process:
            return
        line = running.pop(process)
        with contextlib.suppress(OSError):  # its test may not have waited
            line.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        line.close()


def _become(request):
    """Runs what was asked for, as `python` would."""
    import jax

    from jaxnets.run import report

    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    if devices := os.environ.get("JAX_NUM_CPU_DEVICES"):
        jax.config.update("jax_num_cpu_devices", int(devices))
    if not request["report"]:
        report.write = lambda *arguments: None
    for number, name in ((1, "stdout"), (2, "stderr")):
        buffering = 1 if number == 2 or os.isatty(number) else -1
        if os.environ.get("PYTHONUNBUFFERED"):
            buffering = 1
        stream = open(number, "w", buffering, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    first, *rest = request["arguments"]
    sys.path[0] = "" if first in ("-c", "-m") else str(Path(first).resolve().parent)
    if first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.modules["__main__"] = program = types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), program.__dict__)  # noqa: S102
    else:
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


def _prepare():
    """Imports what children need, and what those modules import at their first use."""
    for module in _PRELOADED:
        importlib.import_module(module)
    import tyro

    from jaxnets.run.verbs import Verbs

    tyro.cli(Verbs, args=[])
    # Children would go through all of this again, and copy it, to collect nothing.
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    _prepare()
    asked = _served(socket.socket(fileno=int(sys.argv[1])))
    if asked is not None:
        _become(asked)
