#!/bin/sh
# Create Temporal's second database, and bring the schemas of both up to this version. Harmless to repeat.
# The connection is in SQL_* variables, which temporal-sql-tool reads.
set -eu

create() {
    said=$(temporal-sql-tool --db "$1" create 2>&1) || case $said in
    *"already exists"*) ;;
    *)
        echo "outlast: the database $1 cannot be created: $said" >&2
        exit 1
        ;;
    esac
}

update() {
    temporal-sql-tool --db "$1" setup-schema -v 0.0
    temporal-sql-tool --db "$1" update-schema -d "/etc/temporal/schema/postgresql/v12/$2/versioned"
}

# The first one is there: the image of PostgreSQL makes a database for its user, temporal.
update temporal temporal
create temporal_visibility
update temporal_visibility visibility
