#!/bin/sh
# Create Temporal's second database, and update the schemas of both. Idempotent.
# temporal-sql-tool reads the connection from SQL_* variables.
set -eu

create() {
    output=$(temporal-sql-tool --db "$1" create 2>&1) || case $output in
    *"already exists"*) ;;
    *)
        echo "outlast: the database $1 cannot be created: $output" >&2
        exit 1
        ;;
    esac
}

update() {
    temporal-sql-tool --db "$1" setup-schema -v 0.0
    temporal-sql-tool --db "$1" update-schema -d "/etc/temporal/schema/postgresql/v12/$2/versioned"
}

# The first one exists: the image of PostgreSQL creates a database for its user, temporal.
update temporal temporal
create temporal_visibility
update temporal_visibility visibility
