"""A whole stack on one machine: servers, `dev` and `demo`."""
