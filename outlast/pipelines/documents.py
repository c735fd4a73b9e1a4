"""The check of a document: returns the compiled pipeline, or every problem with its place.

The language is the CNCF Serverless Workflow DSL 1.0 (github.com/serverlessworkflow/specification, schema
and reference of version 1.0.3). What is not supported is a problem too.
"""

import re
from collections.abc import Mapping

from pydantic import JsonValue

from outlast.contracts.names import NAME_RULE
from outlast.errors import BadRequest
from outlast.pipelines.bounds import MAX_DOCUMENT_BYTES, MAX_TASK_DEPTH, MAX_TASK_NAME, MAX_TASKS
from outlast.pipelines.fields import NAME, Fields, array_hint, quoted, size_of
from outlast.pipelines.places import Problem, Problems, TooManyProblems, below
from outlast.pipelines.task_context import FLOW, Definitions, TaskContext, Variables
from outlast.pipelines.task_kinds import KINDS
from outlast.pipelines.tasks import (
    A2aCall,
    AgentCall,
    AskCall,
    Body,
    Duration,
    HttpCall,
    OpenApiCall,
    Pipeline,
    SetBody,
    Task,
    TaskList,
    ToolCall,
)
from outlast.pipelines.templates import Template
from outlast.text.hints import nearest
from outlast.text.json_text import MAX_JSON_DEPTH, checked_json

VERSIONS = re.compile(r"1\.0\.\d{1,4}(?:-[0-9A-Za-z.-]{1,40})?")
_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_NAME_RULE = "give at most 63 letters, digits and '-'"
_SEMANTIC_VERSION = re.compile(r"\d{1,9}\.\d{1,9}\.\d{1,9}(?:[-+][0-9A-Za-z.+-]{1,80})?")

_NO_DEFINITIONS = Definitions({}, {}, {}, {}, ())

CONTEXT = frozenset(("context", "workflow", "runtime", "task"))
"""Variables of all expressions of a task."""

_BODY = CONTEXT | {"input"}
_EXPORT = _BODY | {"output"}
_WORKFLOW_INPUT = frozenset(("workflow", "runtime"))
_WORKFLOW_OUTPUT = frozenset(("workflow", "runtime", "context"))

_USE_NOT_SUPPORTED = {
    "catalogs": "is not supported",
    "extensions": "is not supported",
    "functions": "is not supported; call 'agent', 'tool' or 'ask'",
}


class InvalidDocument(BadRequest):
    """Raised when a document is rejected, with all its problems."""

    def __init__(self, problems: list[Problem]) -> None:
        count = len(problems)
        lines = "; ".join(map(str, problems))
        super().__init__(
            f"the pipeline has {count} problem{'s' if count > 1 else ''}: {lines}",
            kind=BadRequest.__name__,
        )
        self.problems = problems


def check_document(document: JsonValue) -> Pipeline:
    """Return the compiled pipeline of a document. Raises `InvalidDocument`."""
    problems = Problems()
    try:
        if not _is_too_large(document, problems):
            pipeline = _DocumentCheck(document, problems).pipeline()
            if not problems.found:
                return pipeline
    except TooManyProblems:
        pass
    raise InvalidDocument(problems.found)


def _is_too_large(document: JsonValue, problems: Problems) -> bool:
    try:
        checked_json(document, max_depth=MAX_JSON_DEPTH)
        size = size_of(document)
    except (ValueError, RecursionError, TypeError) as error:
        problems.add("", f"is not JSON: {error}")
        return True
    if size > MAX_DOCUMENT_BYTES:
        problems.add("", f"has {size:,} bytes; at most {MAX_DOCUMENT_BYTES:,} are allowed")
    return size > MAX_DOCUMENT_BYTES


class _DocumentCheck:
    """One check, from the top of the document to its tasks."""

    def __init__(self, document: JsonValue, problems: Problems) -> None:
        self._problems = problems
        self._root = Fields(problems, document, "", "a pipeline")
        self._count = 0
        self._depth = 0
        self._tools: dict[str, str] = {}
        self._agents: dict[str, str] = {}
        self._audiences: dict[str, str] = {}
        self._definitions = _NO_DEFINITIONS
        self._makes_http_calls = False

    def pipeline(self) -> Pipeline:
        """Return the compiled pipeline; it counts only if there are no problems."""
        root = self._root
        namespace, name, version = self._read_head()
        self._definitions = self._read_use()
        input_from, input_schema = self._read_data("input", "from", _WORKFLOW_INPUT)
        output_as, output_schema = self._read_data("output", "as", _WORKFLOW_OUTPUT)
        root.reject("schedule", "is not supported; use a Temporal schedule (docs/schedules.md)")
        timeout = self._timeout(root, _WORKFLOW_INPUT)
        if timeout is not None and timeout.expression is not None:
            self._problems.add("/timeout", "an expression is not supported here; give a duration")
        self._read_language()
        value = root.raw("do", required=True)
        tasks = self._tasks(value, "/do", CONTEXT) if "do" in root else TaskList(())
        root.close()
        return Pipeline(
            namespace=namespace,
            name=name,
            version=version,
            tasks=tasks,
            input_from=input_from,
            input_schema=input_schema,
            output_as=output_as,
            output_schema=output_schema,
            timeout=timeout,
            tools=self._tools,
            agents=self._agents,
            audiences=self._audiences,
            task_count=self._count,
            makes_http_calls=self._makes_http_calls,
        )

    def _read_head(self) -> tuple[str, str, str]:
        head = self._root.inner("document", "the head of the document")
        if head is None:
            self._root.raw("document", required=True)
            return "", "", ""
        head.matching("dsl", VERSIONS, "only versions 1.0.x are supported, such as '1.0.3'")
        namespace = head.matching("namespace", _NAME, _NAME_RULE)
        name = head.matching("name", _NAME, _NAME_RULE)
        version = head.matching("version", _SEMANTIC_VERSION, "give a version such as '1.0.0'")
        for text in ("title", "summary"):
            head.text(text)
        for extra in ("tags", "metadata"):
            head.raw(extra)
        head.close()
        return namespace, name, version

    def _read_use(self) -> Definitions:
        use = self._root.inner("use", "'use'")
        if use is None:
            return _NO_DEFINITIONS
        found = {}
        for name in ("errors", "retries", "timeouts", "authentications"):
            inner = use.inner(name, f"'use.{name}'")
            found[name] = inner.value if inner else {}
        for name, reason in _USE_NOT_SUPPORTED.items():
            use.reject(name, reason)
        secrets = use.names("secrets", NAME, NAME_RULE)
        use.close()
        return Definitions(**found, secrets=secrets)

    def _read_language(self) -> None:
        evaluate = self._root.inner("evaluate", "'evaluate'")
        if evaluate is not None:
            evaluate.choice("language", ("jq",), default="jq")
            evaluate.choice("mode", ("strict", "loose"), default="strict")
            evaluate.close()

    def _read_data(
        self, name: str, field: str, variables: Variables, parent: Fields | None = None
    ) -> tuple[Template | None, dict[str, JsonValue] | None]:
        inner = (parent or self._root).inner(name, f"'{name}'")
        if inner is None:
            return None, None
        shape = inner.shape(field, variables)
        schema = inner.schema("schema")
        inner.close()
        return shape, schema

    def _timeout(self, fields: Fields, variables: Variables) -> Duration | None:
        inner = self._definitions.fields(fields, "timeout", "timeouts", "a timeout")
        if inner is None:
            return None
        after = inner.duration("after", variables, required=True)
        inner.close()
        return after

    def _tasks(self, value: JsonValue, place: str, variables: Variables) -> TaskList:
        if not isinstance(value, list) or not value:
            reason = f"{quoted(value)} is not an array with at least one task{array_hint(value)}"
            self._problems.add(place, reason)
            return TaskList(())
        if self._depth >= MAX_TASK_DEPTH:
            self._problems.add(place, f"tasks are nested deeper than {MAX_TASK_DEPTH} levels")
            return TaskList(())
        items: list[tuple[str, str, JsonValue]] = []
        names: set[str] = set()
        for number, item in enumerate(value):
            at = below(place, number)
            if not isinstance(item, dict) or len(item) != 1:
                self._problems.add(at, f"{quoted(item)} is not a task: an object with one name")
                continue
            name = next(iter(item))
            if name in names:
                self._problems.add(below(at, name), "is the name of an earlier task of this list")
            names.add(name)
            items.append((name, below(at, name), item[name]))
        self._depth += 1
        tasks = [self._task(*item, variables, names) for item in items]
        self._depth -= 1
        return TaskList(tuple(tasks))

    def _task(
        self, name: str, place: str, value: JsonValue, variables: Variables, siblings: set[str]
    ) -> Task:
        self._count += 1
        if self._count > MAX_TASKS:
            self._problems.add(place, f"is task {self._count:,}; at most {MAX_TASKS:,} are allowed")
            raise TooManyProblems
        if name in FLOW:
            self._problems.add(place, f"{name!r} is a flow directive; choose another name")
        elif not name.isprintable() or not 0 < len(name) <= MAX_TASK_NAME:
            self._problems.add(
                place, f"{quoted(name)} is not 1 to {MAX_TASK_NAME} printable letters"
            )
        fields = Fields(self._problems, value, place, "a task")
        inner = variables | _BODY
        context = TaskContext(fields, inner, siblings, self._tasks, self._definitions)
        condition = fields.expression("if", variables)
        input_from, input_schema = self._read_data("input", "from", variables, fields)
        body = self._body(context)
        output_as, output_schema = self._read_data("output", "as", inner, fields)
        export_as, export_schema = self._read_data("export", "as", variables | _EXPORT, fields)
        if export_schema is not None:
            self._problems.add(below(fields.at("export"), "schema"), "is not supported")
        timeout = self._timeout(fields, inner)
        metadata = fields.raw("metadata")
        if "metadata" in fields and not isinstance(metadata, dict):
            self._problems.add(fields.at("metadata"), f"{quoted(metadata)} is not an object")
        then = context.directive(fields, "then")
        fields.close()
        return Task(
            name=name,
            place=place,
            body=body,
            condition=condition,
            input_from=input_from,
            input_schema=input_schema,
            output_as=output_as,
            output_schema=output_schema,
            export_as=export_as,
            timeout=timeout,
            then=then,
        )

    def _body(self, context: TaskContext) -> Body:
        fields = context.fields
        kinds = [kind for kind in KINDS if kind in fields]
        if not kinds:
            if fields.value:
                self._problems.add(
                    fields.place,
                    f"has no kind: give one of {', '.join(KINDS)}{_nearest_kind(fields.value)}",
                )
            elif isinstance(fields.value, dict):
                self._problems.add(fields.place, "is empty; give a task")
            for name in fields.value:
                fields.raw(name)
            return SetBody(Template({}, {}))
        kind = kinds[0]
        if kind == "do" and (misspelt := _misspelt_for(fields.value)):
            self._problems.unknown(fields.at(misspelt), "field", misspelt, ["for"])
            for name in fields.value:
                fields.raw(name)
            return SetBody(
                Template({}, {})
            )  # its tasks use the item of the loop, which has no name
        others = [each for each in kinds[1:] if (kind, each) != ("for", "do")]
        for other in others:
            fields.reject(other, f"a task is of one kind, and this one is {kind!r} already")
        body = KINDS[kind](context)
        self._add_names(body, fields)
        return body or SetBody(Template({}, {}))

    def _add_names(self, body: Body | None, fields: Fields) -> None:
        """Add the names that a call uses, each with the place where it stands first."""
        given = fields.at("with") if "call" in fields else below(fields.at("run"), "workflow")
        match body:
            case ToolCall():
                is_mcp = fields.value.get("call") == "mcp"
                field = (
                    below(below(given, "parameters"), "name") if is_mcp else below(given, "tool")
                )
                self._tools.setdefault(body.tool, field)
            case AgentCall(is_registered=True):
                field = "agent" if "call" in fields else "name"
                self._agents.setdefault(body.name, below(given, field))
            case AskCall():
                self._audiences.setdefault(body.audience, below(given, "audience"))
                for name, _ in body.escalate:
                    self._audiences.setdefault(name, below(given, "escalate"))
            case HttpCall() | OpenApiCall():
                self._makes_http_calls = True
            case A2aCall():
                self._makes_http_calls = True
                if body.audience:
                    options = below(fields.at("metadata"), "outlast")
                    self._audiences.setdefault(body.audience, below(options, "audience"))
            case _:
                pass


def _misspelt_for(value: Mapping[str, JsonValue]) -> str | None:
    """Return the field of a `do` that was meant as a `for`: the two stand together in a loop."""
    return next((name for name in value if nearest(name, ["for"]) and name not in KINDS), None)


def _nearest_kind(value: Mapping[str, JsonValue]) -> str:
    for name in value:
        near = nearest(name, KINDS)
        if near is not None:
            return f"; did you mean {near!r} instead of {name!r}?"
    return ""
