"""Documents that somebody could write, and where and why the check rejects each."""

from typing import Any

HEAD = {"dsl": "1.0.3", "namespace": "demo", "name": "bad", "version": "1.0.0"}


def pipeline(*tasks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"document": HEAD, "do": [{f"t{n}": task} for n, task in enumerate(tasks)], **fields}


def head(**changes: Any) -> dict[str, Any]:
    kept = {name: value for name, value in {**HEAD, **changes}.items() if value is not None}
    return {"document": kept, "do": [{"a": {"set": {"x": 1}}}]}


SET = {"set": {"x": 1}}
ASK = {"question": "Go?"}

ENDPOINT = "/do/0/t0/with/endpoint"
MCP_METHOD = "/do/0/t0/with/method"
POLICY = f"{ENDPOINT}/authentication"


def call_http(**changes: Any) -> dict[str, Any]:
    given = {"method": "get", "endpoint": "https://api.example.com/", **changes}
    return pipeline({"call": "http", "with": given})


A2A = "/do/0/t0/with"
MESSAGE = f"{A2A}/parameters/message"
OPTIONS = "/do/0/t0/metadata/outlast"


def call_a2a(options: Any = None, **changes: Any) -> dict[str, Any]:
    given = {
        "method": "message/send",
        "server": "https://agents.example.com/a2a",
        "parameters": {"message": {"parts": [{"text": "hello"}]}},
        **changes,
    }
    kept = {name: value for name, value in given.items() if value is not None}
    extra = {} if options is None else {"metadata": {"outlast": options}}
    return pipeline({"call": "a2a", "with": kept, **extra})


def message(**changes: Any) -> dict[str, Any]:
    return call_a2a(parameters={"message": {"parts": [{"text": "hello"}], **changes}})


BAD: list[tuple[Any, str, str]] = [
    (None, "/", "not an object"),
    ([], "/", "not an object"),
    ({}, "/document", "is required"),
    ({"document": HEAD}, "/do", "is required"),
    ({"document": HEAD, "do": []}, "/do", "at least one task"),
    ({"document": HEAD, "do": {"a": SET}}, "/do", "write `- NAME: …` for each"),
    (head(dsl="0.8"), "/document/dsl", "1.0.x"),
    (head(dsl=None), "/document/dsl", "is required"),
    (head(name="bad name"), "/document/name", "letters"),
    (head(version="one"), "/document/version", "1.0.0"),
    (head(verson="1.0.0"), "/document/verson", "did you mean 'version'"),
    (pipeline(SET, schedule={"cron": "* * * * *"}), "/schedule", "docs/schedules.md"),
    (pipeline(SET, use={"secrets": "key"}), "/use/secrets", "not an array"),
    (pipeline(SET, use={"secrets": ["a b"]}), "/use/secrets/0", "give a letter"),
    (pipeline(SET, use={"functions": {}}), "/use/functions", "call 'agent'"),
    (pipeline(SET, evaluate={"language": "js"}), "/evaluate/language", "known: jq"),
    (pipeline(SET, timout={"after": "PT1S"}), "/timout", "did you mean 'timeout'"),
    (pipeline({}), "/do/0/t0", "is empty"),
    (pipeline({"sett": {"x": 1}}), "/do/0/t0", "did you mean 'set'"),
    (pipeline({**SET, "wait": "PT1S"}), "/do/0/t0/wait", "one kind"),
    (pipeline({"set": {}}), "/do/0/t0/set", "at least one field"),
    (pipeline({"set": {"x": "${ .a + }"}}), "/do/0/t0/set", "not valid"),
    (pipeline({"set": {"x": "a ${ .b } c"}}), "/do/0/t0/set", "whole text"),
    (pipeline({"set": {"x": "${ $secrets.key }"}}), "/do/0/t0/set", "not known"),
    (pipeline({"set": {"x": "${ now }"}}), "/do/0/t0/set", "replay"),
    (pipeline({**SET, "then": "ned"}), "/do/0/t0/then", "did you mean 'end'"),
    (pipeline({**SET, "thn": "end"}), "/do/0/t0/thn", "did you mean 'then'"),
    (pipeline({**SET, "if": 1}), "/do/0/t0/if", "not an expression"),
    (pipeline({**SET, "output": {"to": "."}}), "/do/0/t0/output/to", "unknown field"),
    (pipeline({**SET, "timeout": {"after": "soon"}}), "/do/0/t0/timeout/after", "PT5M"),
    (pipeline({**SET, "timeout": "slow"}), "/do/0/t0/timeout", "use.timeouts"),
    (pipeline({"wait": {"second": 1}}), "/do/0/t0/wait", "seconds"),
    (pipeline({"wait": "P1Y"}), "/do/0/t0/wait", "duration"),
    (pipeline({"switch": []}), "/do/0/t0/switch", "at least one"),
    (pipeline({"switch": {"a": {"then": "end"}}}), "/do/0/t0/switch", "write `- NAME: …`"),
    (pipeline({"switch": [{"a": {"when": ".x"}}]}), "/do/0/t0/switch/0/a/then", "required"),
    (pipeline({"for": {"in": ".x"}}), "/do/0/t0/do", "is required"),
    (pipeline({"for": {}, "do": [{"a": SET}]}), "/do/0/t0/for/in", "is required"),
    (
        pipeline(
            {
                "for": {"in": "."},
                "do": [{"a": SET}],
                "metadata": {"outlast": {"concurency": 3}},
            }
        ),
        "/do/0/t0/metadata/outlast/concurency",
        "did you mean 'concurrency'",
    ),
    (
        pipeline(
            {"for": {"in": "."}, "do": [{"a": SET}], "metadata": {"outlast": {"concurrency": 0}}}
        ),
        "/do/0/t0/metadata/outlast/concurrency",
        "1 to 100",
    ),
    (
        pipeline({"call": "ask", "with": {"question": "x", "audience": "a\u200fb"}}),
        "/do/0/t0/with/audience",
        "invisible character",
    ),
    (
        pipeline(
            {
                "call": "ask",
                "with": {"question": "x", "escalate": [{"audience": "\u202e", "after_s": 5}]},
            }
        ),
        "/do/0/t0/with/escalate/0/audience",
        "invisible character",
    ),
    (pipeline({"fork": {"branches": {}}}), "/do/0/t0/fork/branches", "not an array"),
    (pipeline({"try": [{"a": SET}]}), "/do/0/t0/catch", "is required"),
    (
        pipeline({"try": [{"a": SET}], "catch": {"retry": "often"}}),
        "/do/0/t0/catch/retry",
        "use.retries",
    ),
    (pipeline({"raise": {"error": "missing"}}), "/do/0/t0/raise/error", "use.errors"),
    (
        pipeline({"raise": {"error": {"type": "urn:x"}}}),
        "/do/0/t0/raise/error/status",
        "is required",
    ),
    (
        pipeline({"emit": {"event": {"with": {"type": "x"}}}}),
        "/do/0/t0/emit/event/with/source",
        "is required",
    ),
    (pipeline({"listen": {"to": {}}}), "/do/0/t0/listen/to", "one of 'one', 'any' and 'all'"),
    (pipeline({"call": "agnt", "with": {}}), "/do/0/t0/call", "did you mean 'agent'"),
    (pipeline({"call": "grpc", "with": {}}), "/do/0/t0/call", "not supported"),
    (pipeline({"call": "agent", "with": {"agent": "a"}}), "/do/0/t0/with/input", "is required"),
    (
        pipeline({"call": "agent", "with": {"agent": "a", "input": 1, "limits": {"max_turn": 1}}}),
        "/do/0/t0/with/limits",
        "did you mean 'max_turns'",
    ),
    (
        pipeline({"call": "tool", "with": {"tool": "9x", "arguments": {}}}),
        "/do/0/t0/with/tool",
        "letter",
    ),
    (pipeline({"call": "ask", "with": {**ASK, "expires_s": -1}}), "/do/0/t0/with/expires_s", "s"),
    (pipeline({"call": "http", "with": {}}), "/do/0/t0/with/method", "is required"),
    (pipeline({"call": "grpc", "with": {}}), "/do/0/t0/call", "not supported"),
    *(
        (pipeline({"call": "http", "with": {"method": "get", "endpoint": uri}}), ENDPOINT, reason)
        for uri, reason in (
            ("https://{host}/x", "must begin with https://"),
            ("https://api.{tld}/x", "must begin with https://"),
            ("{scheme}://api.example.com", "must begin with https://"),
            ("https://user@api.example.com/", "must begin with https://"),
            ("ftp://api.example.com/", "must begin with https://"),
            ("/pets", "must begin with https://"),
            ("https://api.example.com/a/../b", "'.' or '..'"),
            ("https://api.example.com/%2e%2e/b", "'.' or '..'"),
            ("https://api.example.com/{+path}", "is not supported"),
            ("https://api.example.com/{?q}", "is not supported"),
            ("https://api.example.com/{a", "single braces"),
            ("https://api.example.com/x#y", "fragment"),
            ("https://api.example.com/a b", "white space"),
            ("https://api.example.com/${ .id }", "must be the whole text"),
            (7, "is not a text"),
        )
    ),
    (call_http(method="fetch"), "/do/0/t0/with/method", "unknown method 'FETCH'"),
    (call_http(output="json"), "/do/0/t0/with/output", "unknown value"),
    (call_http(redirect="no"), "/do/0/t0/with/redirect", "not true or false"),
    (call_http(headers={"Authorization": "x"}), "/do/0/t0/with/headers/Authorization", "secret"),
    (call_http(query=[1]), "/do/0/t0/with/query", "is not an object"),
    (call_http(retries=3), "/do/0/t0/with/retries", "unknown field"),
    *(
        (call_http(endpoint={"uri": "https://a.example.com", "authentication": policy}), at, reason)
        for policy, at, reason in (
            ({"basic": {"username": "a", "password": "b"}}, f"{POLICY}/basic/password", "history"),
            ({"bearer": {"token": "${ .t }"}}, f"{POLICY}/bearer/token", "history"),
            ({"bearer": {"use": "other"}}, f"{POLICY}/bearer/use", "unknown name in use.secrets"),
            ({"use": "other"}, f"{POLICY}/use", "unknown name in use.authentications"),
            ({"oauth2": {}}, f"{POLICY}/oauth2", "'basic' and 'bearer' are"),
            ({}, POLICY, "needs 'basic' or 'bearer'"),
        )
    ),
    (call_a2a(method=None), f"{A2A}/method", "is required"),
    (call_a2a(method="message/sent"), f"{A2A}/method", "did you mean 'message/send'"),
    (call_a2a(method="message/stream"), f"{A2A}/method", "'message/send' waits"),
    (call_a2a(method="tasks/resubscribe"), f"{A2A}/method", "'message/send' waits"),
    (call_a2a(method="tasks/pushNotificationConfig/set"), f"{A2A}/method", "push notifications"),
    (call_a2a(server=None), A2A, "needs 'agentCard' or 'server'"),
    (call_a2a(server="ftp://a.example.com"), f"{A2A}/server", "must begin with https://"),
    (call_a2a(server={"uri": "https://a.example.com", "x": 1}), f"{A2A}/server/x", "unknown field"),
    (call_a2a(agentCard={"endpoint": "https://a.example.com"}), f"{A2A}/server", "either an"),
    (call_a2a(server=None, agentCard={}), f"{A2A}/agentCard/endpoint", "is required"),
    (call_a2a(server=None, agentCard="https://a.b"), f"{A2A}/agentCard", "is not an object"),
    (call_a2a(parameters=None), f"{A2A}/parameters", "is required"),
    (call_a2a(parameters="hello"), f"{A2A}/parameters", "is not an object"),
    (call_a2a(parameters={}), f"{A2A}/parameters/message", "is required"),
    (call_a2a(parameters={"message": "hello"}), MESSAGE, "is not an object"),
    (call_a2a(parameters={"message": {}}), f"{MESSAGE}/parts", "is required"),
    (message(parts=[]), f"{MESSAGE}/parts", "1 to 100 parts"),
    (message(parts=["hello"]), f"{MESSAGE}/parts/0", "is not an object"),
    (message(parts=[{"kind": "text"}]), f"{MESSAGE}/parts/0", "needs one of 'text'"),
    (message(parts=[{"text": "a", "url": "b"}]), f"{MESSAGE}/parts/0", "needs one of 'text'"),
    (message(parts=[{"text": 1}]), f"{MESSAGE}/parts/0/text", "is not a text"),
    (message(parts=[{"file": {}}]), f"{MESSAGE}/parts/0/file", "needs one of 'bytes', 'uri'"),
    (message(parts=[{"text": "${ .a"}]), f"{A2A}/parameters", "expression is not valid"),
    (message(role="agent"), f"{MESSAGE}/role", "unknown role"),
    (message(messageID="a"), f"{MESSAGE}/messageID", "did you mean 'messageId'"),
    (
        call_a2a(parameters={"message": {"parts": [{"text": "a"}]}, "configuration": {"wait": 1}}),
        f"{A2A}/parameters/configuration/wait",
        "unknown field",
    ),
    (call_a2a(method="tasks/get"), f"{A2A}/parameters/id", "is required"),
    (call_a2a(method="tasks/get", parameters={"id": 7}), f"{A2A}/parameters/id", "is not a text"),
    (
        call_a2a(method="tasks/get", parameters={"id": "a", "historyLength": -1}),
        f"{A2A}/parameters/historyLength",
        "0 to 1,000",
    ),
    (call_a2a(timeout=3), f"{A2A}/timeout", "unknown field"),
    (call_a2a(options={"effect": "read"}), f"{OPTIONS}/effect", "unknown value"),
    (call_a2a(options={"audience": ""}), f"{OPTIONS}/audience", "is not a text"),
    (
        call_a2a(method="tasks/get", parameters={"id": "a"}, options={"audience": "x"}),
        f"{OPTIONS}/audience",
        "unknown field",
    ),
    (pipeline({"call": "mcp", "with": {"method": "tools/list"}}), MCP_METHOD, "unknown value"),
    (
        pipeline({"call": "mcp", "with": {"transport": {"stdio": {"command": "sh"}}}}),
        "/do/0/t0/with/transport",
        "name a server of the workers",
    ),
    (pipeline({"call": "openapi", "with": {}}), "/do/0/t0/with/document", "is required"),
    (
        pipeline({"call": "openapi", "with": {"document": {"endpoint": "file:///x"}}}),
        "/do/0/t0/with/document/endpoint",
        "must begin with https://",
    ),
    (pipeline({"run": {"shell": {"command": "ls"}}}), "/do/0/t0/run/shell", "use a tool"),
    (pipeline({"run": {"script": {"code": "1"}}}), "/do/0/t0/run/script", "use a tool"),
    (pipeline({"run": {"container": {"image": "x"}}}), "/do/0/t0/run/container", "use a tool"),
    (
        pipeline(
            {"run": {"workflow": {"namespace": "x", "name": "a", "version": "1", "input": 1}}}
        ),
        "/do/0/t0/run/workflow/namespace",
        "'agents'",
    ),
]
