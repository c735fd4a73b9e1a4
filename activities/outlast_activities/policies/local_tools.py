"""Local tools: which tools of a run are local activities, in the process that has the run."""

from dataclasses import dataclass

from outlast.contracts.agents import ToolSpec

MAX_LOCAL_TIMEOUT_S = 10.0
"""The longest `timeout` of a local tool. A workflow task has 10 s too."""

LOCAL_ATTEMPT_S = 3.0
"""How long a local call may take. Meanwhile its run handles no command, and cannot be cancelled."""

LOCAL_WAIT_S = 2.0
"""How long a local call waits for a slot of its process."""


@dataclass(frozen=True)
class LocalTools:
    """The tools that a process serves on the task queue of its runs. Without names, no tool is local."""

    task_queue: str = ""
    names: frozenset[str] = frozenset()

    def includes(self, tool: ToolSpec) -> bool:
        """Tell whether the calls of a tool are local activities. The tool has its route already.

        If a process is killed during a local call, the history has no trace of the call. So effects, and
        calls that `compensate` undoes, are ordinary activities.
        """
        return (
            tool.local
            and tool.kind == "activity"
            and not tool.must_end
            and tool.approval is None
            and tool.timeout_s <= MAX_LOCAL_TIMEOUT_S
            and tool.name in self.names
            and tool.route is not None
            and tool.route.legs[0].task_queue == self.task_queue
        )
