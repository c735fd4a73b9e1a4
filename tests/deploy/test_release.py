"""The release: its workflow by validators, and each of its steps that runs without an account."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.dockerfiles import stages
from tests.deploy.tools import ROOT, run, tool

WORKFLOW = ROOT / ".github" / "workflows" / "release.yml"
SCRIPT = ROOT / "deploy" / "release" / "release.py"
LOCKS = ("build", "embedded", "release", "runtime", "weights")
STEPS = {"check", "build", "chart", "sbom", "notes"}
PIN = re.compile(r"^([a-z0-9][\w.-]*)==([^\s;\\]+)", re.MULTILINE)


def release(
    *words: str | Path, root: Path = ROOT, tools: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a step of the release, with the folders of its tools before the others of the PATH."""
    path = os.pathsep.join([tools, str(Path(sys.executable).parent), os.environ["PATH"]])
    script = root / SCRIPT.relative_to(ROOT)
    return subprocess.run(
        [sys.executable, script, *words],
        capture_output=True, text=True, timeout=300, check=False,
        cwd=root, env={**os.environ, "PATH": path},
    )  # fmt: skip


def pins(name: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / "requirements" / f"{name}.txt").read_text()))


def shell_steps() -> list[dict[str, Any]]:
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"] if "run" in step]


def test_the_workflow_is_valid_and_zizmor_finds_no_risk() -> None:
    done = run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", WORKFLOW)
    assert done.returncode == 0, done.stdout
    done = run("zizmor", "--offline", "--no-progress", "--persona", "pedantic", WORKFLOW)
    assert done.returncode == 0, done.stdout


def test_actions_are_pinned_to_commits() -> None:
    used = re.findall(r"uses: (\S+)(.*)", WORKFLOW.read_text())
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action


def test_shellcheck_finds_nothing_in_the_steps(tmp_path: Path) -> None:
    for number, step in enumerate(shell_steps()):
        file = tmp_path / f"{number}.sh"
        file.write_text(f"#!/bin/bash\nset -e -o pipefail\n{step['run']}\n")
        done = run("shellcheck", file)
        assert done.returncode == 0, done.stdout


def test_nothing_is_published_without_a_tag() -> None:
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    assert jobs["publish"]["if"] == "github.ref_type == 'tag'"
    for name, job in jobs.items():
        for step in job["steps"] if name != "publish" else []:
            text = json.dumps(step)
            if "push" in text or "secrets." in text or "actions/attest" in text:
                assert step.get("if") == "github.ref_type == 'tag'", step


def test_the_workflow_runs_every_step_of_the_script() -> None:
    text = "\n".join(step["run"] for step in shell_steps())
    assert set(re.findall(r"release/release\.py (\w+)", text)) == STEPS


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The files that `check` reads, to be changed."""
    for name in ("pyproject.toml", "CHANGELOG.md", "deploy/kubernetes/chart/Chart.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / SCRIPT.relative_to(ROOT)).parent.mkdir(parents=True)
    shutil.copy(SCRIPT, tmp_path / SCRIPT.relative_to(ROOT))
    return tmp_path


def test_the_versions_of_this_tree_agree() -> None:
    done = release("check")
    assert done.returncode == 0, done.stderr
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert done.stdout.strip() == project["version"]


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        (
            "pyproject.toml",
            'version = "0.1.0"',
            'version = "0.2.0"',
            "Chart.yaml has version '0.1.0'",
        ),
        ("pyproject.toml", 'version = "0.1.0"', 'version = "1"', "has the version '1': use a form"),
        (
            "deploy/kubernetes/chart/Chart.yaml",
            "appVersion: 0.1.0",
            "appVersion: 0.1.1",
            "Chart.yaml has appVersion '0.1.1', and pyproject.toml '0.1.0'",
        ),
        ("CHANGELOG.md", "## Unreleased", "## 0.0.9", "neither `## Unreleased` nor `## 0.1.0`"),
    ],
)
def test_files_that_disagree_are_named(
    tree: Path, file: str, old: str, new: str, sentence: str
) -> None:
    text = (tree / file).read_text()
    assert old in text
    (tree / file).write_text(text.replace(old, new, 1))
    done = release("check", root=tree)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_tag_needs_its_version_and_a_section_of_the_changelog(tree: Path) -> None:
    assert "the tag is 'v9.9.9'" in release("check", "--tag", "v9.9.9", root=tree).stderr
    assert "has no `## 0.1.0`" in release("check", "--tag", "v0.1.0", root=tree).stderr
    changelog = tree / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("## Unreleased", "## 0.1.0 - 2026-12-01"))
    done = release("check", "--tag", "v0.1.0", root=tree)
    assert (done.returncode, done.stdout) == (0, "0.1.0\n")
    assert release("notes", root=tree).stdout.startswith("### ")


def test_the_packages_are_built_twice_alike(tmp_path: Path) -> None:
    done = release("build", tmp_path)
    assert done.returncode == 0, done.stderr
    (wheel,), (sdist,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    assert {line.split()[1] for line in done.stdout.splitlines()} == {wheel.name, sdist.name}
    with zipfile.ZipFile(wheel) as archive:
        assert "outlast/__init__.py" in archive.namelist()
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("/CHANGELOG.md") for name in archive.getnames())


def test_the_chart_is_packaged_with_what_it_reads(tmp_path: Path) -> None:
    done = release("chart", tmp_path, tools=str(tool("helm").parent))
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.glob("outlast-*.tgz")
    with tarfile.open(package) as archive:
        names = set(archive.getnames())
    assert {"outlast/versions.yaml", "outlast/dashboards/outlast.json"} <= names


def test_the_sbom_lists_what_images_install_with_hashes(tmp_path: Path) -> None:
    done = release("sbom", tmp_path, tools=str(tool("cyclonedx-py").parent))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "outlast.cdx.json").read_text())
    assert found["bomFormat"] == "CycloneDX"
    assert found["metadata"]["component"]["name"] == "outlast"
    listed = {one["name"].lower().replace("_", "-"): one for one in found["components"]}
    for name, version in pins("runtime").items():
        component = listed[name.lower().replace("_", "-")]
        assert component["version"] == version
        assert component["externalReferences"][0]["hashes"]


def test_a_missing_tool_is_named() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "chart", "/nonexistent/never"],
        capture_output=True, text=True, check=False, env={"PATH": "/nonexistent"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_a_hash_for_each_package_and_names_no_index(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    assert pins(name)
    entries = re.split(r"\n(?=\S)", text.strip())
    for entry in entries:
        assert PIN.match(entry), entry[:80]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry[:80]
    assert not re.search(r"://|--(extra-)?index|--find-links|^-", text, re.MULTILINE)


@pytest.mark.parametrize("name", ["build", "embedded", "runtime", "weights"])
def test_a_lock_has_the_versions_that_the_tests_ran_with(name: str) -> None:
    def normal(text: str) -> str:
        return re.sub(r"[-_.]+", "-", text).lower()

    tested = {normal(key): value for key, value in pins("constraints").items()}
    locked = {normal(key): value for key, value in pins(name).items()}
    shared = locked.keys() & tested.keys()
    assert {key: locked[key] for key in shared} == {key: tested[key] for key in shared}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"runtime": "runtime", "embedded": "workers"}
    if name in groups:
        named = [*project["dependencies"], *project["optional-dependencies"][groups[name]]]
        wanted = {normal(re.split(r"[\[>=<,;]", one)[0]) for one in named} - {"outlast"}
        assert wanted <= locked.keys()


@pytest.mark.parametrize("file", sorted((ROOT / "deploy").rglob("*Dockerfile")), ids=str)
def test_images_install_nothing_without_a_hash(file: Path) -> None:
    installs = [
        command
        for stage in stages(file)
        for script in stage.all("RUN")
        for command in re.split(r"&&", script)
        if "pip install" in command
    ]
    assert installs
    for command in installs:
        is_ours = "--no-deps --no-index" in command
        assert is_ours or "--require-hashes" in command, command
