"""What a run ran on: versions, devices, flags, commit. Nothing is sent anywhere."""

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

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
_PATCH_LIMIT = 2**20  # characters of an uncommitted change that are kept


def environment(commit: str | None, patch: str) -> dict[str, Any]:
    """Versions, devices and flags, beside what `commit_of` found."""
    devices = jax.devices()
    prefixes = ("JAX_", "XLA_", "JAXNETS_", "LIBTPU_", "CUDA_VISIBLE", "OMP_NUM")
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
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
        None and nothing where there is no git, or no repository.
    """
    folder = source.parent

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(folder), *arguments]
        try:
            done = subprocess.run(  # noqa: S603 - a fixed program, no shell
                command, capture_output=True, text=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return None, ""
    return commit.strip(), (git("diff", "HEAD", "--no-color") or "")[:_PATCH_LIMIT]


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What may change the bits of a resumed run: versions and devices that moved."""
    found = [
        f"{name} {before['packages'].get(name)}, now {version}"
        for name, version in now["packages"].items()
        if before["packages"].get(name) != version
    ]
    found += [
        f"{name} {before[name]}, now {now[name]}"
        for name in ("python", "platform", "devices", "flags")
        if before.get(name) != now[name]
    ]
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
