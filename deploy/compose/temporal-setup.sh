#!/bin/sh
# Create the namespace and the search attributes, and send new runs to this build. Idempotent.
set -eu

attempts=0
until temporal operator cluster health; do
    attempts=$((attempts + 1))
    if [ "$attempts" -ge 30 ]; then
        echo "outlast: Temporal at $TEMPORAL_ADDRESS is not healthy after $attempts attempts" >&2
        exit 1
    fi
    sleep 2
done

temporal operator namespace describe --namespace default >/dev/null 2>&1 ||
    temporal operator namespace create --namespace default --retention 72h

# All parts of the server know a new namespace after at most 10 s.
attempts=0
until temporal operator search-attribute list >/dev/null; do
    attempts=$((attempts + 1))
    if [ "$attempts" -ge 15 ]; then
        echo "outlast: the namespace is not served after $attempts attempts" >&2
        exit 1
    fi
    sleep 2
done

temporal operator search-attribute create \
    --name AgentName --name AgentTenant --name AgentStatus --type Keyword
temporal operator search-attribute create --name AgentAudience --type KeywordList
temporal operator search-attribute create --name AgentWaitingSince --type Datetime
temporal operator search-attribute create --name AgentTurns --type Int
temporal operator search-attribute create --name AgentCostUsd --type Double

# Before the workers poll, because they wait for this script.
temporal worker deployment set-current-version --deployment-name outlast --build-id "$BUILD_ID" \
    --allow-no-pollers --ignore-missing-task-queues --yes
