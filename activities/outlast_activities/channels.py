"""Channels: a webhook, a command, and the log."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Sequence

import httpx2
import structlog
from temporalio.exceptions import ApplicationError

from outlast.contracts.notices import Notice
from outlast.texts import cut

TIMEOUT_S = 30.0
"""One attempt at one notice: shorter than the activity's own bound."""

MAX_SHOWN = 300

KEY_PREFIX = "whsec_"
"""Standard Webhooks: it is followed by the key in base64."""

log = structlog.get_logger("outlast.notify")


class Webhook:
    """Posts a notice as JSON, signed as Standard Webhooks are (standardwebhooks.com) where it has a secret.

    `webhook-id` is the notice's key, the same in every attempt. A status from 400 on that another attempt
    cannot change is final.
    """

    def __init__(self, url: str, *, secret: str | None = None) -> None:
        self._url = url
        self._secret = secret

    async def send(self, notice: Notice) -> None:
        """Post the notice."""
        body = json.dumps(notice.as_json(), ensure_ascii=False).encode()
        headers = {"content-type": "application/json", **self._signed(notice.key, body)}
        async with asyncio.timeout(TIMEOUT_S), httpx2.AsyncClient(timeout=TIMEOUT_S) as client:
            answer = await client.post(self._url, content=body, headers=headers)
        if answer.status_code >= 300:
            # Not what it says: it may repeat the notice, whose link is worth something.
            final = answer.status_code < 500 and answer.status_code not in (408, 409, 425, 429)
            raise ApplicationError(
                f"the webhook answered {answer.status_code}",
                type="NotifyFailed",
                non_retryable=final,
            )

    def _signed(self, key: str, body: bytes) -> dict[str, str]:
        sent_at = str(int(time.time()))
        headers = {"webhook-id": key, "webhook-timestamp": sent_at}
        if self._secret is None:
            return headers
        signed = f"{key}.{sent_at}.".encode() + body
        secret = base64.b64decode(self._secret.removeprefix(KEY_PREFIX))
        digest = hmac.new(secret, signed, hashlib.sha256).digest()
        return {**headers, "webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}


class Command:
    """Runs a command with the notice as JSON on its standard input."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(words)

    async def send(self, notice: Notice) -> None:
        """Run the command; a status other than 0 is tried again."""
        process = await asyncio.create_subprocess_exec(
            *self._words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                _, said = await process.communicate(json.dumps(notice.as_json()).encode())
        except BaseException:
            if process.returncode is None:
                process.kill()
            await process.wait()
            raise
        if process.returncode:
            why = cut(said.decode(errors="replace"), MAX_SHOWN)
            raise ApplicationError(
                f"{self._words[0]} ended with {process.returncode}: {why}", type="NotifyFailed"
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
