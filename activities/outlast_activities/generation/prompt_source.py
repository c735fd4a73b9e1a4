"""What the prompts of one model call are made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from outlast.contracts.agents import Effort, PinnedAgent, Way
from outlast.contracts.messages import Message
from outlast.model_server import Decoding, Prompt
from outlast.turns import RejectedText
from outlast_activities.generation.answer_streams import CallStreams
from outlast_activities.generation.prompts import tools_of, trim_results, turns_of


@dataclass(frozen=True)
class PromptSource:
    """What the prompts of a model call are made of. `streams` take the texts of their answers."""

    agent: PinnedAgent
    transcript: Sequence[Message]
    schema: dict[str, Any]
    schema_key: str
    model: str | None
    session: str
    allowed: frozenset[str] | None = None
    max_calls: int | None = None
    may_answer: bool = True
    way: Way = "decision"
    effort: Effort | None = None
    answer_schema: dict[str, Any] = field(default_factory=dict)
    streams: CallStreams | None = None
    turn: int = 0
    tenant: str = "default"

    def prompt(
        self,
        *,
        trimmed: int,
        max_tokens: int,
        shows_schema: bool,
        decoding: Decoding,
        rejected: RejectedText | None,
    ) -> Prompt:
        """Return a prompt, without the tool results in the first `trimmed` entries of the transcript."""
        return Prompt(
            turns=turns_of(trim_results(self.transcript, trimmed)),
            schema=self.schema,
            schema_key=self.schema_key,
            max_tokens=max_tokens,
            instructions=self.agent.instructions,
            agent=self.agent.name,
            tools=tools_of(self.agent),
            allowed=self.allowed,
            max_calls=self.max_calls,
            may_answer=self.may_answer,
            answer_schema=self.answer_schema,
            way=self.way,
            effort=self.effort,
            shown_schema=self.agent.output_schema if shows_schema else None,
            model=self.model,
            session=self.session,
            decoding=decoding,
            rejected=rejected,
        )
