#!/bin/sh
# Register a published version of the function with Temporal, and send new runs to it. Idempotent.
#
#   deploy/lambda/register.sh DEPLOYMENT BUILD_ID FUNCTION_ARN [OPTION…]     # options of create-version
set -eu
if [ $# -lt 3 ]; then
    echo "usage: $0 DEPLOYMENT BUILD_ID FUNCTION_ARN [OPTION of create-version…]" >&2
    exit 2
fi
deployment=$1 build_id=$2 function_arn=$3
shift 3

# In seconds. A new deployment or version becomes visible after some moments.
KNOWN_WITHIN=15
# A version can become current when its first invocation polls, after a cold start.
POLLED_WITHIN=90

within() {
    deadline=$(($(date +%s) + $1))
    shift
    until output=$(temporal worker deployment "$@" 2>&1); do
        if [ "$(date +%s)" -ge "$deadline" ]; then
            echo "outlast: $1 of $deployment $build_id: $output" >&2
            return 1
        fi
        sleep 1
    done
}

is_there() {
    temporal worker deployment "$@" >/dev/null 2>&1
}

is_there describe --name "$deployment" ||
    within "$KNOWN_WITHIN" create --name "$deployment"
is_there describe-version --deployment-name "$deployment" --build-id "$build_id" ||
    within "$KNOWN_WITHIN" create-version --deployment-name "$deployment" --build-id "$build_id" \
        --aws-lambda-function-arn "$function_arn" "$@"
within "$POLLED_WITHIN" set-current-version --deployment-name "$deployment" --build-id "$build_id" --yes
echo "outlast: runs that begin from now on are served by $deployment $build_id"
