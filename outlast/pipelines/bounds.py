"""Bounds of pipelines: of their documents, which are checked before a start, and of their runs."""

MAX_DOCUMENT_BYTES = 500_000
"""A document as JSON. Each continue-as-new carries it, together with the data of the run."""

MAX_TASKS = 2_000
"""Tasks of one document, with those inside of other tasks."""

MAX_TASK_NAME = 100
"""Characters of the name of a task, which is part of summaries in the history."""

MAX_TASK_DEPTH = 12
"""Levels of tasks in tasks. Each level is several frames of Python's stack."""

MAX_BRANCHES = 50
"""Branches of one `fork`, which all run at the same time."""

MAX_CASES = 100
"""Cases of one `switch`."""

MAX_EVENT_FILTERS = 20
"""Events that one `listen` waits for."""

MAX_CONCURRENCY = 100
"""Items of one `for` that run at the same time. The server allows 2,000 children in flight."""

MAX_ITEMS = 10_000
"""Items of one `for`."""

MAX_VALUE_BYTES = 1_000_000
"""The data of one task as JSON: its input, its output, or the context. The server's limit is 2 MB."""

MAX_VALUE_DEPTH = 100
"""Levels of the data of one task."""

MAX_PROBLEMS = 20
"""Problems of a document in one message."""
