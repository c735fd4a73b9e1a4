"""JSON values that strangers type, the fields that take them, and a check of the time that each needs."""

import json
import signal
import types
from collections.abc import Callable

from outlast.contracts import requests
from outlast.contracts.base import InputModel
from outlast.contracts.human import HumanDecision
from outlast.contracts.limits import Limits
from outlast.contracts.requests import (
    AgentRequest,
    CommandPayload,
    ReplyPayload,
    SayPayload,
    TranscriptQuery,
)

# -- values ------------------------------------------------------------------------------------------------


def nested(levels: int, opening: str = "[", closing: str = "]") -> str:
    return opening * levels + closing * levels


VALUES: dict[str, str] = {
    "400 digits": "1" * 400,
    "1,001 digits": "1" * 1_001,
    "4,000 digits": "1" * 4_000,
    "4,301 digits": "1" * 4_301,
    "100,000 digits": "1" * 100_000,
    "minus 5,000 digits": "-" + "9" * 5_000,
    "a fraction of 100,000 digits": "0." + "3" * 100_000,
    "1e400": "1e400",
    "-1e400": "-1e400",
    "1e-400": "1e-400",
    "an exponent of 100,000 digits": "1e" + "9" * 100_000,
    "1e308": "1e308",
    "NaN": "NaN",
    "Infinity": "Infinity",
    "-Infinity": "-Infinity",
    "minus zero": "-0.0",
    "minus zero as an integer": "-0",
    "100 levels": nested(100),
    "101 levels": nested(101),
    "250 levels": nested(250),
    "10,000 levels": nested(10_000),
    "10,000 objects": nested(10_000, '{"a":', "}").replace(":}", ":1}", 1),
    "200,000 levels": nested(200_000),
    "200,000 levels without an end": "[" * 200_000,
    "half a surrogate pair": '"\\ud800"',
    "the other half": '"x\\udfff"',
    "halves in the wrong order": '"\\udc00\\ud800"',
    "half a surrogate pair in a key": '{"\\ud83d":1}',
    "NUL": '"a\\u0000b"',
    "NUL in a key": '{"\\u0000":1}',
    "an escape of a terminal": '"\\u001b[31m"',
    "text from the right": '"\\u202egnp"',
    "duplicate keys": '{"a":1,"a":2}',
    "a decimal of 900,000 digits": '"9e900000"',
    "a decimal that overflows": '"9e999999"',
    "a decimal beyond decimals": '"9e99999999999999999999"',
    "a tiny decimal": '"1e-999999"',
    "a tiny decimal beyond decimals": '"1e-99999999999999999999"',
    "a signalling decimal": '"sNaN"',
    "an infinite decimal": '"Infinity"',
    "digits in text": json.dumps("1" * 100_000),
    "digits of other scripts": '"٣٣٣"',
    "underscores in digits": '"1_000"',
    "many numbers": "[" + "1," * 80_000 + "1]",
    "many empty lists": "[" + "[]," * 80_000 + "[]]",
    "many empty objects": "[" + "{}," * 80_000 + "{}]",
    "many names": json.dumps([f"t{n}" for n in range(60_000)]),
    "one name often": json.dumps(["look"] * 60_000),
    "many fields": json.dumps({f"field{n}": n for n in range(40_000)}),
    "text with 60,000 places": json.dumps("{input}" * 60_000),
    "true": "true",
    "null": "null",
    "an empty text": '""',
    "nothing": "",
    "not UTF-8": "\udcff",
}
"""JSON of one value each: some are no JSON."""

PLACES: dict[str, tuple[str, type[InputModel]]] = {
    **{
        f"AgentRequest.{field}": (f'{{"agent":"a","input":1,"{field}":VALUE}}', AgentRequest)
        for field in ("agent", "spec", "input", "tenant", "limits", "mode", "odd")
    },
    **{
        f"AgentSpec.{field}": (
            f'{{"spec":{{"instructions":"x","{field}":VALUE}},"input":1}}',
            AgentRequest,
        )
        for field in (*requests.AgentSpec.model_fields, "odd")
    },
    **{
        f"Limits.{field}": (f'{{"agent":"a","input":1,"limits":{{"{field}":VALUE}}}}', AgentRequest)
        for field in Limits.model_fields
    },
    **{
        f"SayPayload.{field}": (f'{{"text":"x","{field}":VALUE}}', SayPayload)
        for field in SayPayload.model_fields
    },
    **{
        f"CommandPayload.{field}": (f'{{"{field}":VALUE}}', CommandPayload)
        for field in CommandPayload.model_fields
    },
    **{
        f"HumanDecision.{field}": (
            f'{{"request_id":"1.1","decision":"edit","{field}":VALUE}}',
            HumanDecision,
        )
        for field in HumanDecision.model_fields
    },
    "answer": ('{"request_id":"1.1","decision":"answer","answer":VALUE}', HumanDecision),
    "TranscriptQuery.since": ('{"since":VALUE}', TranscriptQuery),
    "ReplyPayload": ('{"x":VALUE}', ReplyPayload),
    "AgentRequest": ("VALUE", AgentRequest),
    "a schema's minimum": (
        '{"spec":{"instructions":"x","output":{"type":"integer","minimum":VALUE}},"input":1}',
        AgentRequest,
    ),
    "a schema's multipleOf": (
        '{"spec":{"instructions":"x","output":{"type":"number","multipleOf":VALUE}},"input":1}',
        AgentRequest,
    ),
    "a schema's constant": (
        '{"spec":{"instructions":"x","output":{"const":VALUE}},"input":1}',
        AgentRequest,
    ),
    "a schema's type": (
        '{"spec":{"instructions":"x","output":{"type":VALUE}},"input":1}',
        AgentRequest,
    ),
}


def check_message(text: str) -> None:
    text.encode()
    assert len(text) < 2_000


def bounded(call: Callable[[], object]) -> None:
    """Call, and fail if it goes on for seconds of CPU time, which would stop an event loop.

    The clock counts all threads of the process.
    """

    def ring(_signal: int, _frame: types.FrameType | None) -> None:
        raise TimeoutError("more than 5 s of CPU")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, 5.0)
    try:
        call()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
