import fcntl
import json
import os
import pty
import select
import signal
import struct
import termios
import time

import pytest

LONG = (
    "--steps-per-call",
    "1",
    "--steps",
    "100000",
    "--every",
    "50",
    "--checkpoint-seconds",
    "1000",
)


def started(process, lines=2):
    """Waits until the run has printed a few lines: it is in the middle of training."""
    return [process.stdout.readline() for _ in range(lines)]


@pytest.mark.parametrize(
    ("number", "status", "fresh"),
    [(signal.SIGINT, 130, True), (signal.SIGTERM, 143, False)],
)
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(
    toy, tmp_path, number, status, fresh
):
    process = toy.start("small", *LONG, true_start=fresh)
    started(process)
    process.send_signal(number)
    before = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, (out, err)
    assert time.monotonic() - before < 50
    last = [line for line in out.splitlines() if not line.startswith("step")]
    assert len(last) + len(err.splitlines()) <= 5, (out, err)
    assert "The same command goes on from there" in out
    assert "Traceback" not in err
    (folder,) = (tmp_path / "runs" / "small").iterdir()
    saved = max(int(p.name) for p in (folder / "checkpoints").iterdir())
    assert saved >= 50
    again = toy.start("small", *LONG)
    assert f"resumed at step {saved}" in started(again)[0]
    again.kill()
    again.communicate()


def test_a_second_ctrl_c_exits_now(toy):
    # A run whose evaluation never ends would not come to the end of its step.
    process = toy.start("stuck")
    started(process, 2)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "asked to stop\n"
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


def test_a_live_run_is_refused_with_its_process_id(toy, tmp_path):
    process = toy.start("stuck")
    started(process)
    _, err = toy("stuck", status=1)
    assert f"is being run by process {process.pid}" in err
    process.kill()
    process.communicate()
    again = toy.start("stuck")
    assert again.stdout.readline().startswith("stuck: ")  # the lock went with it
    again.kill()
    again.communicate()


def read_terminal(process, descriptor):
    found = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], 0.5)
        if ready:
            try:
                found += os.read(descriptor, 65536)
            except OSError:
                break
        elif process.poll() is not None:
            break
    return found.decode()


def test_in_a_pipe_there_are_plain_lines_only(toy):
    out, err = toy("small", true_start=True)
    assert err == ""
    assert "\r" not in out
    assert "\x1b" not in out
    lines = out.splitlines()
    assert lines[0].startswith("small: seed 0, 1 cpu device, ")
    assert lines[-1].startswith("test accuracy ")
    assert "runs/small/" in lines[-1]
    assert [line.split()[1] for line in lines[1:-1]] == ["20/60", "40/60", "60/60"]
    assert "(compiled in " in lines[1]


@pytest.mark.parametrize(
    "plain", [pytest.param(True, marks=pytest.mark.campaign), False]
)
@pytest.mark.one_python
def test_on_a_terminal_there_is_a_bar_that_leaves_no_metrics_out(toy, tmp_path, plain):
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    more = {"NO_COLOR": "1"} if plain else {}
    process = toy.start(
        "small",
        *("--steps", "600", "--every", "200"),
        environment={"TERM": "xterm", **more},
        stdout=other,
        stderr=other,
        true_start=True,
    )
    os.close(other)
    text = read_terminal(process, main)
    os.close(main)
    assert process.wait() == 0, text
    assert "step/s" in text
    assert "\r" in text
    assert "\x1b[3" not in text  # no colours, asked for or not
    (folder,) = (tmp_path / "runs" / "small").iterdir()
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [200, 400, 600]
