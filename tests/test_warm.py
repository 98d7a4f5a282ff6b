"""Forked children behave as fresh interpreters do, where tests depend on it."""

import os
import signal
import subprocess
import sys

import pytest

from tests.warm import ended

PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
SLEEPS = "import time; print('there', flush=True); time.sleep(60)"


@pytest.fixture
def child(warm, surroundings, tmp_path):
    """Starts a child in an empty folder."""
    with ended() as started:

        def start(*arguments, **how):
            given = {"cwd": tmp_path, "env": surroundings(), **PIPES}
            started.append(warm.start(arguments, **{**given, **how}))
            return started[-1]

        yield start


@pytest.fixture
def run(warm, surroundings, tmp_path):
    return lambda *arguments, **how: warm.run(
        arguments, **{"cwd": tmp_path, "env": surroundings(), **how}
    )


def test_a_child_has_imported_jax_and_is_a_process_of_its_own(child):
    said = "import sys; print('jax' in sys.modules, os.getpid())"
    process = child("-c", f"import os; {said}")
    out, err = process.communicate(timeout=60)
    assert (out, err) == (f"True {process.pid}\n", "")
    assert process.pid not in (os.getpid(), None)


def test_streams_are_apart_and_may_be_joined(child, tmp_path):
    both = "import sys; print('out'); print('err', file=sys.stderr)"
    assert child("-c", both).communicate(timeout=60) == ("out\n", "err\n")
    joined = child("-c", both, stderr=subprocess.STDOUT)
    out, err = joined.communicate(timeout=60)
    assert sorted(out.split()) == ["err", "out"]
    assert err is None
    with (tmp_path / "file").open("w") as file:
        child("-c", both, stdout=file).communicate(timeout=60)
    assert (tmp_path / "file").read_text() == "out\n"
    assert child("-c", both, text=False).communicate(timeout=60)[0] == b"out\n"
    large = child("-c", "print('x' * 10**6)")  # more than a pipe holds
    assert len(large.communicate(timeout=60)[0]) == 10**6 + 1


@pytest.mark.parametrize(
    ("program", "status", "says"),
    [
        ("pass", 0, ""),
        ("raise SystemExit(7)", 7, ""),
        ("import sys; sys.exit('wrong')", 1, "wrong\n"),
        ("raise ValueError('oh')", 1, "ValueError: oh\n"),
        ("import os; os._exit(3)", 3, ""),
        ("import os; os.kill(os.getpid(), 9)", -9, ""),
        ("raise KeyboardInterrupt", -signal.SIGINT, "KeyboardInterrupt\n"),
    ],
)
def test_a_program_ends_with_the_status_of_an_interpreter(run, program, status, says):
    done = run("-c", program)
    assert done.returncode == status
    assert done.stderr.endswith(says)
    assert bool(done.stderr) == bool(says)


def test_scripts_modules_and_programs_have_their_arguments(run, tmp_path):
    show = "import sys\nprint(__name__, sys.argv[1:], sys.modules['__main__'].here)\n"
    (tmp_path / "script.py").write_text("here = 1\nimport beside\n" + show)
    (tmp_path / "beside.py").touch()
    for words in (["script.py"], ["-m", "script"], ["-c", "here = 1\n" + show]):
        done = run(*words, "a", "b c")
        assert done.stdout == "__main__ ['a', 'b c'] 1\n", done.stderr


def test_the_environment_is_the_child_s_own(run, surroundings, tmp_path):
    show = "import os; print(os.environ.get('MINE'), os.getcwd())"
    assert run("-c", show).stdout == f"None {tmp_path}\n"
    done = run("-c", show, env=surroundings(MINE="yes"), cwd="/")
    assert done.stdout == "yes /\n"
    show = "import jax; print(jax.device_count())"
    done = run("-c", show, env=surroundings(JAX_NUM_CPU_DEVICES="3"))
    assert done.stdout == "3\n"


def test_what_only_a_fresh_interpreter_would_notice_gets_one(run, surroundings):
    show = "import sys; print('jax' in sys.modules)"
    assert run("-c", show).stdout == "True\n"
    for more in ({"PYTHONHASHSEED": "1"}, {"HOME": "/nowhere"}, {"JAX_LOG_X": "1"}):
        assert run("-c", show, env=surroundings(**more)).stdout == "False\n"
    assert run("-c", show, true_start=True).stdout == "False\n"


def test_exit_handlers_are_run_once_and_by_the_child(run):
    assert run("-c", "import atexit; atexit.register(print, 'end')").stdout == "end\n"
    assert run("-c", "pass").stdout == ""


def test_a_child_without_a_report_writes_none(run):
    show = "from jaxnets.run import report; print(report.write.__module__)"
    assert run("-c", show).stdout == "jaxnets.run.report\n"
    assert run("-c", show, report=False).stdout != "jaxnets.run.report\n"


def test_signals_reach_the_child_and_no_other(child):
    one, other = child("-c", SLEEPS), child("-c", SLEEPS)
    for process in (one, other):
        assert process.stdout.readline() == "there\n"
    one.send_signal(signal.SIGINT)
    _, err = one.communicate(timeout=60)
    assert one.returncode == -signal.SIGINT
    assert err.endswith("KeyboardInterrupt\n")
    assert other.poll() is None
    other.send_signal(signal.SIGTERM)
    assert other.wait(60) == -signal.SIGTERM
    other.kill()  # no error: it has ended


def test_a_time_limit_leaves_the_child_alive_and_its_output_whole(child):
    process = child("-c", SLEEPS)
    for method in (process.communicate, process.wait):
        with pytest.raises(subprocess.TimeoutExpired):
            method(timeout=0.05)
    assert process.poll() is None
    process.kill()
    assert process.communicate(timeout=60) == ("there\n", "")
    assert process.returncode == -signal.SIGKILL


def test_what_runs_too_long_is_killed(run):
    with pytest.raises(subprocess.TimeoutExpired):
        run("-c", SLEEPS, timeout=0.05)


def test_a_failing_test_leaves_no_process_and_no_open_file(
    warm, surroundings, tmp_path
):
    how = {"cwd": tmp_path, "env": surroundings(), **PIPES}
    before = len(os.listdir("/dev/fd"))
    with ended() as started:
        # One at work, one that has ended, one inside `communicate`, one truly started.
        started += [warm.start(["-c", SLEEPS], **how) for _ in range(3)]
        started += [warm.start(["-c", SLEEPS], **how, true_start=True)]
        started[1].kill()
        started[1].wait()
        with pytest.raises(subprocess.TimeoutExpired):
            started[2].communicate(timeout=0.05)
    assert [process.returncode for process in started] == [-signal.SIGKILL] * 4
    for process in started:
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)  # not even a zombie
    assert len(os.listdir("/dev/fd")) == before


def test_a_true_start_is_popen(child):
    process = child("-c", "pass", true_start=True)
    assert isinstance(process, subprocess.Popen)
    assert process.args[0] == sys.executable
    assert process.wait(60) == 0
