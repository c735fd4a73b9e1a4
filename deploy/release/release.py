#!/usr/bin/env python3
"""The steps of a release, as .github/workflows/release.yml runs them and as you can run them here.

    python deploy/release/release.py check [--tag v0.1.0]    # the version is one, and the changelog has it
    python deploy/release/release.py build DIR               # wheel and sdist, built twice and compared
    python deploy/release/release.py chart DIR               # the Helm chart as a package
    python deploy/release/release.py sbom DIR                # what the images install, as CycloneDX
    python deploy/release/release.py notes                   # the changelog of this version

`build` needs hatchling, `chart` helm, and `sbom` cyclonedx-py on the PATH. requirements/release.txt has the
versions, and docs/releasing.md explains each step.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

VERSION = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")
"""Versions that are valid for packages, for charts and in tags of images."""

EPOCH = "1767225600"
"""The time of every file in the packages, 2026-01-01, if SOURCE_DATE_EPOCH does not give another."""

STEP_WITHIN_S = 600


class ReleaseError(Exception):
    """Raised when a release cannot be made; the message says what to change."""


def package_version(root: Path = ROOT) -> str:
    """Return the version of pyproject.toml; raises `ReleaseError` if no tag could be made of it."""
    version: str = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    if not VERSION.fullmatch(version):
        raise ReleaseError(f"pyproject.toml has the version {version!r}: use a form such as 1.2.3")
    return version


def chart_versions(root: Path = ROOT) -> dict[str, str]:
    """Return `version` and `appVersion` of the chart."""
    text = (root / "deploy/kubernetes/chart/Chart.yaml").read_text()
    return dict(re.findall(r"^(version|appVersion): \"?([^\s\"]+)\"?$", text, re.MULTILINE))


def changelog_section(title: str, root: Path = ROOT) -> str:
    """Return the text of a section of the changelog, empty if there is none."""
    parts = re.split(r"^## (.+)$", (root / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    return next((text.strip() for name, text in sections.items() if name.split()[0] == title), "")


def check(tag: str | None, root: Path = ROOT) -> str:
    """Return the version that all files have; raises `ReleaseError` if they differ, or `tag` does."""
    version = package_version(root)
    for name, other in chart_versions(root).items():
        if other != version:
            raise ReleaseError(
                f"Chart.yaml has {name} {other!r}, and pyproject.toml {version!r}: make them equal"
            )
    if tag is None:
        if not changelog_section("Unreleased", root) and not changelog_section(version, root):
            raise ReleaseError(
                f"CHANGELOG.md has neither `## Unreleased` nor `## {version}` with a text: add one"
            )
        return version
    if tag != f"v{version}":
        raise ReleaseError(f"the tag is {tag!r}, and the version {version!r}: tag it v{version}")
    if not changelog_section(version, root):
        raise ReleaseError(
            f"CHANGELOG.md has no `## {version}` with a text: rename `## Unreleased` to it"
        )
    return version


def run(*command: str, cwd: Path = ROOT) -> None:
    """Run a command; raises `ReleaseError` if it is missing or fails."""
    if shutil.which(command[0]) is None:
        raise ReleaseError(
            f"{command[0]} is not on the PATH: install it, as docs/releasing.md says"
        )
    environment = {"SOURCE_DATE_EPOCH": EPOCH, **os.environ}
    done = subprocess.run(
        command, cwd=cwd, env=environment, timeout=STEP_WITHIN_S, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode:
        raise ReleaseError(f"{' '.join(command)} failed:\n{done.stdout[-2_000:]}")


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def build(target: Path) -> dict[str, str]:
    """Build wheel and sdist twice, and keep one pair; raises `ReleaseError` if the two differ."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "1"), Path(folder, "2")
        for place in (first, second):
            run(
                "hatchling",
                "build",
                "--target",
                "wheel",
                "--target",
                "sdist",
                "--directory",
                str(place),
            )
        if digests(first) != digests(second):
            raise ReleaseError(f"two builds differ: {digests(first)} and {digests(second)}")
        target.mkdir(parents=True, exist_ok=True)
        for file in first.iterdir():
            shutil.copy(file, target)
        return digests(first)


def chart(target: Path) -> None:
    """Package the Helm chart."""
    target.mkdir(parents=True, exist_ok=True)
    run("helm", "package", "deploy/kubernetes/chart", "--destination", str(target))


def sbom(target: Path) -> None:
    """Write what the images install, with hashes, as CycloneDX JSON."""
    target.mkdir(parents=True, exist_ok=True)
    run(
        *("cyclonedx-py", "requirements", "--pyproject", "pyproject.toml", "--output-reproducible"),
        *("--output-format", "JSON", "--output-file", str(target / "outlast.cdx.json")),
        "requirements/runtime.txt",
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run one step, and return the exit status."""
    parser = argparse.ArgumentParser(description="The steps of a release.")
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("check").add_argument("--tag")
    for name in ("build", "chart", "sbom"):
        steps.add_parser(name).add_argument("folder", type=Path, metavar="DIR")
    steps.add_parser("notes")
    options = parser.parse_args(arguments)
    try:
        if options.step == "check":
            sys.stdout.write(f"{check(options.tag)}\n")
        elif options.step == "notes":
            title = package_version()
            sys.stdout.write((changelog_section(title) or changelog_section("Unreleased")) + "\n")
        elif options.step == "build":
            for name, digest in build(options.folder.resolve()).items():
                sys.stdout.write(f"{digest}  {name}\n")
        else:
            {"chart": chart, "sbom": sbom}[options.step](options.folder.resolve())
    except ReleaseError as error:
        sys.stderr.write(f"release: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
