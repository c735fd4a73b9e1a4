"""The variables of a deployment, read as a worker would read them."""

import os
from collections.abc import Mapping
from unittest import mock

from outlast_workers.settings import Settings, load_settings
from outlast_workers.settings_errors import PREFIX


def loaded(variables: Mapping[str, str]) -> Settings:
    """Return the settings of a worker that has these variables; raises `NotReady` where one is wrong."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith((PREFIX, "TEMPORAL_"))
    }
    with mock.patch.dict(os.environ, {**kept, **variables}, clear=True):
        return load_settings()
