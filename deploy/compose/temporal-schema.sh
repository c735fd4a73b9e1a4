#!/bin/sh
# Create Temporal's two databases, and bring their schemas up to this version. Harmless to repeat.
# The connection is in SQL_* variables, which temporal-sql-tool reads.
set -eu

update() {
    temporal-sql-tool --db "$1" create
    temporal-sql-tool --db "$1" setup-schema -v 0.0
    temporal-sql-tool --db "$1" update-schema -d "/etc/temporal/schema/postgresql/v12/$2/versioned"
}

update temporal temporal
update temporal_visibility visibility
