"""What a run ran on: versions, devices, flags, commit. Nothing is sent anywhere."""

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import jax

from jaxnets.run import records, settings
from jaxnets.run.folder import RunError

_PACKAGES = (
    "jaxnets",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "tensorflow-datasets",
)
_CACHES = ("JAXNETS_CACHE", "JAX_COMPILATION_CACHE_DIR")
_PATCH_LIMIT = 2**20  # bytes of an uncommitted change that are kept
_GIT_SECONDS = 20.0  # after which git is stopped
# No question, no lock, no program of the user's between git and us.
_GIT_QUIETLY = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_ASKPASS": "true",
    "LC_ALL": "C",
}


def environment(commit: str | None, patch: str) -> dict[str, Any]:
    """Versions, devices and flags, beside what `commit_of` found."""
    devices = jax.devices()
    prefixes = ("JAX_", "XLA_", "JAXNETS_", "LIBTPU_", "CUDA_VISIBLE", "OMP_NUM")
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "devices": [f"{d.platform} {d.device_kind}" for d in devices],
        "processes": jax.process_count(),
        "flags": {k: v for k, v in os.environ.items() if k.startswith(prefixes)},
        "commit": commit,
        "changed": bool(patch),
    }


def commit_of(source: Path) -> tuple[str | None, str]:
    """The git commit that a file stands at, and what has changed since.

    Returns:
        None and nothing where there is no git, no repository, or a broken one. Bytes of
        the change that are not UTF-8 are surrogates: `os.fsencode` gives them back.
    """
    commit = _git(source.parent, "rev-parse", "HEAD")
    if not commit:
        return None, ""
    how = ("--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short")
    patch = _git(source.parent, "diff", "HEAD", *how) or b""
    return commit.decode().strip(), patch.decode("utf-8", "surrogateescape")


def _git(folder: Path, *arguments: str) -> bytes | None:
    """The first megabyte of what git prints; None where it fails."""
    command = ["git", "-C", str(folder), *arguments]
    nothing = subprocess.DEVNULL
    how: dict[str, Any] = {"stdin": nothing, "stderr": nothing}
    how["env"] = {**os.environ, **_GIT_QUIETLY}
    try:
        # A fixed program, no shell.
        process = subprocess.Popen(command, stdout=subprocess.PIPE, **how)  # noqa: S603
    except OSError:
        return None
    timer = threading.Timer(_GIT_SECONDS, process.kill)
    timer.start()
    try:
        with process:
            output = process.stdout.read(_PATCH_LIMIT) if process.stdout else b""
            if len(output) == _PATCH_LIMIT:
                process.kill()  # it may have gigabytes more to print
                return output
        return output if process.returncode == 0 else None
    finally:
        timer.cancel()


def sessions(folder: Path) -> list[dict[str, Any]]:
    """What a run ran on, each time it was started; nothing where that is not known."""
    try:
        return records.load(folder / "environment.json").get("sessions", [])
    except (OSError, RunError):
        return []


def moved_since(folder: Path) -> list[str]:
    """What is different here from where a run ended, and may change bits."""
    before = sessions(folder)
    return differences(before[-1], environment(None, "")) if before else []


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What may change the bits of a resumed run: versions and devices that moved."""
    found = [
        f"{name} {before['packages'].get(name)}, now {version}"
        for name, version in now["packages"].items()
        if before["packages"].get(name) != version
    ]
    found += [
        f"{name} {_shown(before[name])}, now {_shown(now[name])}"
        for name in ("python", "platform", "processor", "devices")
        if name in before and before[name] != now[name]
    ]
    flags = settings.differences(_computing(before), _computing(now))
    return found + [f"{name} {how}" for name, how in flags.items()]


def _computing(session: dict[str, Any]) -> dict[str, str]:
    """The flags that may change bits: where something is cached changes none."""
    flags = session.get("flags", {})
    return {name: value for name, value in flags.items() if name not in _CACHES}


def _shown(value: Any) -> str:
    """Equal devices are counted: `8 x cpu`."""
    if isinstance(value, list):
        kinds = {str(kind): value.count(kind) for kind in value}
        return " and ".join(f"{count} x {kind}" for kind, count in kinds.items())
    return str(value)


def _processor() -> str:
    """The processor's name, which decides how XLA compiles for it; empty if unknown."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    names = [line for line in text.splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.processor()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
