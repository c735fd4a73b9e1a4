"""outlast on one machine: local servers, `dev` and `demo`."""
