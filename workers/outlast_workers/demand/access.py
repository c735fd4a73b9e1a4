"""Access to the demand service: the bearer token of callers, and the certificates of both ports.

KEDA's `metrics-api` trigger sends the token as an HTTP header. Its `external` trigger sends no header: the
token is in the trigger's metadata (`tokenFromEnv`), or a client certificate replaces it.
"""

import hmac
import ssl
from http import HTTPStatus
from pathlib import Path

import grpc
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from outlast.errors import NotReady
from outlast_workers.settings_sections.demand import TlsSettings
from outlast_workers.web import JsonLine

OPEN_PATHS = frozenset({"/healthz"})
"""Paths that need no token: probes have none, and the answer is only that the process runs."""

REJECTED = (
    "this service needs a token: send the header `Authorization: Bearer TOKEN` (demand.token)"
)

_SCHEME = "bearer "


class Token:
    """The token that callers have to present. Without a token, everybody is admitted."""

    def __init__(self, secret: SecretStr | None) -> None:
        self._secret = secret.get_secret_value().encode() if secret else None

    def is_bearer(self, header: str | bytes | None) -> bool:
        """Return whether the value of an `Authorization` header presents the token."""
        text = header.decode("latin-1") if isinstance(header, bytes) else header or ""
        is_bearer = text.lower().startswith(_SCHEME)
        return self.admits(text[len(_SCHEME) :].strip() if is_bearer else None)

    def admits(self, presented: str | None) -> bool:
        """Return whether a caller may go on. The comparison takes the same time for every wrong token."""
        if self._secret is None:
            return True
        return hmac.compare_digest((presented or "").encode(), self._secret)


class RequireToken:
    """Rejects HTTP requests without the token with 401, except those of `OPEN_PATHS`."""

    def __init__(self, app: ASGIApp, token: Token) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or reject it."""
        is_open = scope["type"] != "http" or scope["path"] in OPEN_PATHS
        if is_open or self._token.is_bearer(Headers(scope=scope).get("authorization")):
            await self._app(scope, receive, send)
            return
        headers = {"WWW-Authenticate": "Bearer"}
        rejection = JsonLine({"error": REJECTED}, HTTPStatus.UNAUTHORIZED, headers)
        await rejection(scope, receive, send)


def http_tls(tls: TlsSettings) -> ssl.SSLContext | None:
    """Return the TLS of the HTTP port, None without certificate; raises `NotReady` for unusable files."""
    if not tls.cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise NotReady(
            f"demand.tls: {tls.cert!r} and {tls.key!r} are no certificate with its key in PEM "
            f"({error.strerror or error}): give its files (OUTLAST_DEMAND__TLS__CERT, __KEY)"
        ) from None
    return context


def grpc_tls(tls: TlsSettings) -> grpc.ServerCredentials | None:
    """Return the TLS of the gRPC port, None without certificate; raises `NotReady` for unusable files.

    With `client_ca`, a caller without a certificate of this CA cannot connect.
    """
    if not tls.cert or not tls.key:
        return None
    return grpc.ssl_server_credentials(
        [(_content(tls.key), _content(tls.cert))],
        root_certificates=_content(tls.client_ca) if tls.client_ca else None,
        require_client_auth=bool(tls.client_ca),
    )


def _content(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise NotReady(f"demand.tls: {file!r} cannot be read: {error.strerror}") from None
