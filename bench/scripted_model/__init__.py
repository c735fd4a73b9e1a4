"""The parts of the scripted model server: scripts, dialects of APIs, streams, and faults."""
