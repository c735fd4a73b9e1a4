"""Tools from OpenAPI documents: documents are read here, and workers make the calls."""
