"""The parameters of A2A's methods: what a document may give, and what a worker sends.

The DSL names methods as A2A 0.3 does, and its examples have messages of that version. Workers speak A2A
1.0, so a message of the older form is sent in the newer one.
"""

from dataclasses import dataclass

from pydantic import JsonValue

from outlast.contracts.a2a_calls import A2aMethod
from outlast.pipelines.fields import Fields, quoted
from outlast.pipelines.places import Problems, TooManyProblems, below

MAX_PARTS = 100
"""Parts of one message."""

MAX_HISTORY_LENGTH = 1_000
"""Messages of the history of a task that a call may ask for."""

CONTENTS = ("text", "data", "raw", "url", "file")
"""The content of a part. `file` is that of A2A 0.3."""

_ROLES = ("user", "ROLE_USER")
_OLD_KINDS = ("text", "data", "file")
_PUSH = "push notifications are not supported: the run asks for the state of the task"


class InvalidParameters(ValueError):
    """Raised for parameters that no request can have, with the places below `parameters`."""


def check_parameters(method: A2aMethod, fields: Fields, *, has_expressions: bool) -> None:
    """Add the problems of parameters. With expressions, what a text will be is not known yet."""
    read = _Parameters(has_expressions)
    if method == "SendMessage":
        read.send(fields)
    else:
        fields.text("id", required=True)
        fields.text("tenant")
        if method == "GetTask":
            read.count(fields, "historyLength")
        else:
            read.object(fields, "metadata")
    fields.close()


def wire_parameters(method: A2aMethod, value: JsonValue, message_id: str) -> dict[str, JsonValue]:
    """Return the parameters as A2A 1.0 has them. Raises `InvalidParameters`."""
    problems = Problems()
    fields = Fields(problems, value, "/parameters", "the parameters of a method")
    try:
        if not problems.found:
            check_parameters(method, fields, has_expressions=False)
    except TooManyProblems:
        pass
    if problems.found:
        raise InvalidParameters("; ".join(map(str, problems.found)))
    params = dict(fields.value)
    if method == "SendMessage":
        params["message"] = _message(params["message"], message_id)
        given = params.get("configuration")
        configuration = dict(given) if isinstance(given, dict) else {}
        configuration.pop("blocking", None)
        # The agent must not hold the connection: the run waits for the task.
        params["configuration"] = {**configuration, "returnImmediately": True}
    return params


def returns_at_once(value: JsonValue) -> bool:
    """Return whether the parameters of a message ask for its task as it is when it begins."""
    given = value.get("configuration") if isinstance(value, dict) else None
    configuration = given if isinstance(given, dict) else {}
    return configuration.get("returnImmediately") is True or configuration.get("blocking") is False


def text_parameters(
    text: str, message_id: str, task_id: str, context_id: str
) -> dict[str, JsonValue]:
    """Return the parameters of a message with a text for a task."""
    message: dict[str, JsonValue] = {
        "messageId": message_id,
        "role": "ROLE_USER",
        "parts": [{"text": text}],
        "taskId": task_id,
    }
    if context_id:
        message["contextId"] = context_id
    return {"message": message, "configuration": {"returnImmediately": True}}


@dataclass(frozen=True)
class _Parameters:
    """Reads parameters. A text with `${` is an expression if the document may have them there."""

    has_expressions: bool

    def _is_open(self, value: JsonValue) -> bool:
        return self.has_expressions and isinstance(value, str) and "${" in value

    def _inner(self, fields: Fields, name: str, what: str) -> Fields | None:
        if name not in fields or self._is_open(fields.value[name]):
            fields.raw(name)
            return None
        return fields.inner(name, what)

    def object(self, fields: Fields, name: str) -> None:
        """Read an object of any fields."""
        self._inner(fields, name, f"{name!r}")

    def count(self, fields: Fields, name: str) -> None:
        """Read a number of messages."""
        value = fields.raw(name)
        if name not in fields or self._is_open(value):
            return
        if (
            isinstance(value, bool)
            or not isinstance(value, int)
            or not 0 <= value <= MAX_HISTORY_LENGTH
        ):
            reason = f"{quoted(value)} is not an integer from 0 to {MAX_HISTORY_LENGTH:,}"
            fields.problems.add(fields.at(name), reason)

    def _flag(self, fields: Fields, name: str) -> None:
        value = fields.raw(name)
        if name in fields and not self._is_open(value) and not isinstance(value, bool):
            fields.problems.add(fields.at(name), f"{quoted(value)} is not true or false")

    def _texts(self, fields: Fields, name: str) -> None:
        value = fields.raw(name)
        if name not in fields or self._is_open(value):
            return
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            fields.problems.add(fields.at(name), f"{quoted(value)} is not an array of texts")

    def send(self, fields: Fields) -> None:
        """Read the parameters of a message."""
        fields.raw("message", required=True)
        message = self._inner(fields, "message", "a message")
        if message is not None:
            self._message(message)
        configuration = self._inner(fields, "configuration", "a configuration")
        if configuration is not None:
            self._configuration(configuration)
        self.object(fields, "metadata")
        fields.text("tenant")

    def _message(self, fields: Fields) -> None:
        for name in ("messageId", "contextId", "taskId"):
            fields.text(name)
        role = fields.text("role", default="user")
        if role not in _ROLES and not self._is_open(role):
            fields.problems.unknown(fields.at("role"), "role", role, _ROLES)
        self._kind(fields, ("message",))
        self.object(fields, "metadata")
        self._texts(fields, "extensions")
        self._texts(fields, "referenceTaskIds")
        self._parts(fields)
        fields.close()

    def _kind(self, fields: Fields, known: tuple[str, ...]) -> None:
        kind = fields.text("kind", default=known[0])
        if kind not in known and not self._is_open(kind):
            fields.problems.unknown(fields.at("kind"), "kind", kind, known)

    def _parts(self, fields: Fields) -> None:
        value = fields.raw("parts", required=True)
        if "parts" not in fields or self._is_open(value):
            return
        place = fields.at("parts")
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_PARTS:
            fields.problems.add(place, f"{quoted(value)} is not an array of 1 to {MAX_PARTS} parts")
            return
        for number, each in enumerate(value):
            if not self._is_open(each):
                self._part(Fields(fields.problems, each, below(place, number), "a part"))

    def _part(self, part: Fields) -> None:
        found = [name for name in CONTENTS if name in part]
        if part.value and len(found) != 1:
            part.problems.add(part.place, f"needs one of {', '.join(map(repr, CONTENTS))}")
        part.raw("data")
        if part.raw("text") != "":  # an empty text is a text
            part.text("text")
        for name in ("raw", "url"):
            part.text(name)
        for name in ("filename", "mediaType"):
            part.text(name)
        self.object(part, "metadata")
        self._kind(part, _OLD_KINDS)
        file = self._inner(part, "file", "a file")
        if file is not None:
            if len([name for name in ("bytes", "uri") if name in file]) != 1:
                file.problems.add(file.place, "needs one of 'bytes', 'uri'")
            for name in ("bytes", "uri", "name", "mimeType"):
                file.text(name)
            file.close()
        part.close()

    def _configuration(self, fields: Fields) -> None:
        self._texts(fields, "acceptedOutputModes")
        self.count(fields, "historyLength")
        for name in ("returnImmediately", "blocking"):
            self._flag(fields, name)
        for name in ("taskPushNotificationConfig", "pushNotificationConfig"):
            fields.reject(name, _PUSH)
        fields.close()


def _message(value: JsonValue, message_id: str) -> JsonValue:
    """Return a checked message in the form of A2A 1.0, with an id and a role."""
    message = dict(value) if isinstance(value, dict) else {}
    message.pop("kind", None)
    parts = message["parts"]
    message["parts"] = [_part(each) for each in parts] if isinstance(parts, list) else []
    return {"messageId": message_id, **message, "role": "ROLE_USER"}


def _part(value: JsonValue) -> JsonValue:
    part = dict(value) if isinstance(value, dict) else {}
    part.pop("kind", None)
    file = part.pop("file", None)
    if isinstance(file, dict):
        for old, new in (("bytes", "raw"), ("uri", "url"), ("name", "filename")):
            if old in file:
                part[new] = file[old]
        if "mimeType" in file:
            part["mediaType"] = file["mimeType"]
    return part
