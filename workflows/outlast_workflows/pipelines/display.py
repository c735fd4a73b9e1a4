"""What the Temporal UI and the queries show of a pipeline."""

from collections.abc import Mapping
from itertools import islice

from outlast.contracts.pipeline_results import PipelineProgress, TaskProgress
from outlast.pipelines.tasks import Task
from outlast.text.safe_text import code_span, visible_line
from outlast_workflows.display_text import request_lines
from outlast_workflows.pipelines.state import PipelineState
from outlast_workflows.run_display import RunDisplay
from outlast_workflows.state import InboundState

MAX_RUNNING = 50
"""Tasks that run now, in the details and in the query `progress`."""


class PipelineDisplay(RunDisplay):
    """Shows one pipeline: the tasks that run, and the requests that wait for people."""

    def __init__(
        self,
        state: PipelineState,
        inbound: InboundState,
        running: Mapping[str, Task],
        workflow_id: str,
    ) -> None:
        super().__init__(state.run, inbound)
        self._pipeline = state
        self._pending = inbound.pending
        self._running = running
        self._workflow_id = workflow_id

    def _details(self) -> str:
        progress = self.pipeline_progress()
        usage = progress.usage
        used = f"{usage.tokens:,} tokens · ${usage.cost_usd:.4f}"
        lines = [
            f"**{progress.status}**: {progress.tasks:,} tasks · {used}",
            "",
            f"pipeline {code_span(visible_line(progress.pipeline))}",
        ]
        lines += [f"- {code_span(visible_line(task.place))}" for task in progress.running]
        for request in progress.pending:
            lines += ["", *request_lines(request, self._workflow_id)]
        return "\n".join(lines)

    def pipeline_progress(self) -> PipelineProgress:
        """Return the result of the query `progress`."""
        # The items of a loop run the same task of the document.
        running = {task.place: task.name for task in self._running.values()}
        return PipelineProgress(
            pipeline=self._pipeline.run.agent.name,
            status=self._pipeline.run.status,
            tasks=self._pipeline.task_runs,
            tool_calls=self._pipeline.run.spending.tool_calls,
            running=[
                TaskProgress(place=place, name=name)
                for place, name in islice(running.items(), MAX_RUNNING)
            ],
            usage=self._pipeline.run.spending.usage,
            pending=list(self._pending.values()),
        )
