"""Channels for notices: a webhook, a command, and the log."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import Mapping, Sequence

import httpx2
import structlog
from temporalio.exceptions import ApplicationError

from outlast.contracts.notices import Notice
from outlast.text.texts import cut
from outlast_activities.telemetry.requests import trace_headers

TIMEOUT_S = 30.0
"""The timeout of one notice, shorter than that of the activity."""

MAX_OUTPUT = 300
"""Bytes of a command's error output in a failure."""

KEY_PREFIX = "whsec_"
"""The prefix of a secret of Standard Webhooks. The key in base64 follows it."""

log = structlog.get_logger("outlast.notify")


class Webhook:
    """Posts a notice as JSON. With a secret it is signed as standardwebhooks.com specifies.

    The `webhook-id` is the key of the notice, so it is the same in every attempt. A status from 300 on is a
    failure. Temporal retries 408, 409, 425, 429, and 500 and above; all others are final.
    """

    def __init__(self, url: str, *, secret: str | None = None) -> None:
        self._url = url
        self._secret = secret

    async def send(self, notice: Notice) -> None:
        """Post the notice."""
        body = json.dumps(notice.as_json(), ensure_ascii=False).encode()
        headers = {
            "content-type": "application/json",
            **trace_headers(self._url),
            **self._signature(notice.key, body),
        }
        async with (
            asyncio.timeout(TIMEOUT_S),
            httpx2.AsyncClient(timeout=TIMEOUT_S) as client,
            client.stream("POST", self._url, content=body, headers=headers) as response,
        ):
            # Nobody reads the body. It has no bound, and may repeat the notice with its link.
            status = response.status_code
        if status >= 300:
            is_final = status < 500 and status not in (408, 409, 425, 429)
            raise ApplicationError(
                f"the webhook answered {status}",
                type="NotifyFailed",
                non_retryable=is_final,
            )

    def _signature(self, key: str, body: bytes) -> dict[str, str]:
        sent_at = str(int(time.time()))
        headers = {"webhook-id": key, "webhook-timestamp": sent_at}
        if self._secret is None:
            return headers
        content = f"{key}.{sent_at}.".encode() + body
        secret = base64.b64decode(self._secret.removeprefix(KEY_PREFIX))
        digest = hmac.new(secret, content, hashlib.sha256).digest()
        return {**headers, "webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}


COMMAND_VARIABLES = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LANGUAGE"),
        *("SYSTEMROOT", "COMSPEC", "PATHEXT", "TEMP", "TMP", "USERPROFILE", "APPDATA"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    )
)
"""Variables that a command gets, besides those that begin with `COMMAND_PREFIXES`."""

COMMAND_PREFIXES = ("LC_", "NOTICE_")


def command_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for a command. The worker's own hold API keys and secrets."""
    return {
        name: value
        for name, value in environment.items()
        if name.upper() in COMMAND_VARIABLES or name.upper().startswith(COMMAND_PREFIXES)
    }


class Command:
    """Runs a command with the notice as JSON on its standard input."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(words)

    async def send(self, notice: Notice) -> None:
        """Run the command. An exit status other than 0 is a failure that Temporal retries."""
        process = await asyncio.create_subprocess_exec(
            *self._words,
            env=command_environment(os.environ),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                _, stderr = await process.communicate(json.dumps(notice.as_json()).encode())
        except BaseException:
            if process.returncode is None:
                process.kill()
            await process.wait()
            raise
        if process.returncode:
            output = cut(stderr.decode(errors="replace"), MAX_OUTPUT)
            raise ApplicationError(
                f"{self._words[0]} failed with status {process.returncode}: {output}",
                type="NotifyFailed",
            )


class LogLine:
    """Writes a notice to the worker's log."""

    async def send(self, notice: Notice) -> None:
        """Log the notice."""
        log.warning(
            f"request.{notice.reason}",
            audience=notice.audience,
            workflow_id=notice.workflow_id,
            request_id=notice.request.request_id,
            text=notice.text,
            url=notice.url,
        )
