"""Stages of a Dockerfile, carried out in root file systems of Debian, in which their processes run too.

The base image `python:…-slim-trixie` is a minimal Debian 13 with a Python that its makers compile. Here,
debootstrap makes the same Debian with Debian's own Python, because there is no container engine.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.deploy.dockerfiles import Stage
from tests.deploy.tools import ROOT

SUITE = "trixie"
PACKAGES = "python3,python3-venv,ca-certificates,netbase,tzdata"
"""What the base image has, and `venv`, which is a package of its own in Debian."""

STEP_WITHIN_S = 600.0

OF_THIS_MACHINE = ("/etc/resolv.conf", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
"""Files without which a build here would find neither the registries nor their certificates."""


def can_make_images() -> bool:
    """Return whether this machine can make a root file system, and run processes in it."""
    return os.geteuid() == 0 and all(shutil.which(each) for each in ("debootstrap", "chroot"))


class Images:
    """The stages of a Dockerfile. Each has its own root file system below `folder`, as in a real build."""

    def __init__(self, folder: Path, stages: Sequence[Stage], arguments: Mapping[str, str]) -> None:
        self._folder = folder
        self._arguments = arguments
        self._environments: dict[str, dict[str, str]] = {}
        for stage in stages:
            self._make(stage)

    def root(self, name: str) -> Path:
        """Return the root file system of a stage."""
        return self._folder / name

    def command(self, name: str, *words: str, user: int, **variables: str) -> list[str]:
        """Return what runs a command of an image as a user, with the image's variables."""
        known = {**self._environments[name], "HOME": "/nonexistent", **variables}
        settings = [f"{key}={value}" for key, value in known.items()]
        chroot = ["chroot", f"--userspec={user}:{user}", str(self.root(name))]
        return [*chroot, "/usr/bin/env", "-i", "-C", "/app", *settings, *words]

    def _make(self, stage: Stage) -> None:
        root = self.root(stage.name)
        base = self.root(stage.base) if stage.base in self._environments else self._debian()
        _do("cp", "--archive", str(base), str(root))
        environment = dict(self._environments.get(stage.base, {"PATH": "/usr/bin:/bin:/usr/sbin"}))
        self._environments[stage.name] = environment
        workdir = "/"
        for word, rest in stage.instructions:
            if word == "WORKDIR":
                workdir = rest
                (root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            elif word == "COPY":
                self._copy(rest, root, workdir)
            elif word == "ENV":
                known = {**environment, **self._arguments}
                for setting in shlex.split(rest):
                    name, _, value = setting.partition("=")
                    for key in sorted(known, key=len, reverse=True):
                        value = value.replace(f"${key}", known[key])
                    environment[name] = value
            elif word == "RUN":
                self._run(rest, root, workdir, environment)

    def _debian(self) -> Path:
        base = self._folder / "debian"
        if not base.exists():
            options = ("--variant=minbase", f"--include={PACKAGES}")
            _do("debootstrap", *options, SUITE, str(base))
            (base / "usr/local/bin/python").symlink_to("/usr/bin/python3")
            for file in filter(os.path.exists, OF_THIS_MACHINE):
                shutil.copy(file, base / file.lstrip("/"))
        return base

    def _copy(self, rest: str, root: Path, workdir: str) -> None:
        words = rest.split()
        origin = ROOT
        if words[0].startswith("--from="):
            origin = self.root(words.pop(0).removeprefix("--from="))
        *sources, destination = words
        target = root / os.path.join(workdir, destination).lstrip("/")
        for source in sources:
            found = origin / source.lstrip("/")
            if not found.is_dir():
                shutil.copy(found, target)
                continue
            ignored = shutil.ignore_patterns("__pycache__") if origin == ROOT else None
            shutil.copytree(found, target, symlinks=True, ignore=ignored)

    def _run(self, script: str, root: Path, workdir: str, environment: Mapping[str, str]) -> None:
        words = [word for word in script.split(" ") if not word.startswith("--mount=")]
        of_pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        known = {**of_pip, **self._arguments, **environment}
        known["PATH"] = f"{known['PATH']}:/usr/local/bin"
        settings = [f"{name}={value}" for name, value in known.items()]
        with mounted(root):
            _do(
                *("chroot", str(root), "/usr/bin/env", "-i", "-C", workdir, *settings),
                *("/bin/sh", "-ec", " ".join(words)),
            )


@contextmanager
def mounted(root: Path) -> Iterator[None]:
    """Give the processes of a block the system's `/proc`, which the SDK and apt read."""
    _do("mount", "-t", "proc", "proc", str(root / "proc"))
    try:
        yield
    finally:
        _do("umount", "--lazy", str(root / "proc"))


def _do(*words: str) -> None:
    done = subprocess.run(
        words,
        timeout=STEP_WITHIN_S,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout[-2_000:]}"
