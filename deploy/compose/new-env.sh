#!/bin/sh
# Write .env, which docker compose reads, with passwords of this machine: once, for they are in the volumes too.
set -eu
cd "$(dirname "$0")/../.."
if [ -e .env ]; then
    echo "outlast: .env is there already; remove it, and the volumes, for new passwords" >&2
    exit 0
fi
umask 077

secret() {
    od -An -N 24 -tx1 /dev/urandom | tr -d ' \n'
}

cat >.env <<END
# embedded: a small model without a GPU; gpu, cpu: vLLM. More than one with commas: gpu,callback
COMPOSE_PROFILES=embedded
BUILD_ID=dev
POSTGRES_PASSWORD=$(secret)
GRAFANA_PASSWORD=$(secret)
CALLBACK_SECRET=$(secret)
END
echo "outlast: wrote .env; next: docker compose up --build --detach --wait"
