"""Models and model servers: each API and way, the embedded model, spillover, failures."""
