"""The sections of the settings: one model for each table of `outlast.toml`."""
