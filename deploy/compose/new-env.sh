#!/bin/sh
# Write .env for docker compose, with new passwords. Run it once: the volumes keep the passwords too.
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
# embedded: a small model without a GPU; gpu, cpu: vLLM. Separate several with commas: gpu,callback
COMPOSE_PROFILES=embedded
BUILD_ID=dev
POSTGRES_PASSWORD=$(secret)
GRAFANA_PASSWORD=$(secret)
CALLBACK_SECRET=$(secret)
END
echo "outlast: wrote .env; next: docker compose up --build --detach --wait"
