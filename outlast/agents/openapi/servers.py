"""The servers of an API that its developer allows, and the credentials for them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit

from outlast.agents.mcp_servers import CREDENTIALS
from outlast.agents.openapi.documents import Document, Unusable
from outlast.agents.openapi.operations import Credential
from outlast.errors import DefinitionError
from outlast.text.hints import hint
from outlast.text.texts import shown

MAX_SERVERS = 20
"""Servers that a document names in one place."""

MAX_SERVER_URL = 4_000
"""Characters of the URL of a server, also after its variables: each may be in it many times."""


def allowed_servers(servers: object) -> list[str]:
    """Return the URLs that the developer allows. Raises `DefinitionError`."""
    listed = [servers] if isinstance(servers, str) else servers
    if not isinstance(listed, Sequence) or isinstance(listed, bytes) or not listed:
        raise DefinitionError(
            f'servers: {shown(servers)} must be a URL or a list of URLs, as "https://api.example.com/v1"'
        )
    return [_server_url(each) for each in listed]


def _server_url(url: object) -> str:
    if not isinstance(url, str) or not re.fullmatch(r"https?://[!-~]+", url):
        raise DefinitionError(f"servers: {shown(url)} must be http://… or https://…, in ASCII")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit("//"), None, None
    odd = (parts.username, parts.password, parts.query, parts.fragment, port == 0)
    if not host or any(odd) or re.search(r"[{}@\\?#]|/\.\.?(/|$)", url):
        raise DefinitionError(
            f"servers: {shown(url)} must have a host, and no password, query, fragment, '..' or braces"
        )
    return f"{parts.scheme.lower()}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def server_of(
    allowed: Sequence[str], item: Mapping[str, Any], operation: Mapping[str, Any], path: str
) -> str:
    """Return the server of an operation: the first allowed one, unless the operation has its own.

    Raises `Unusable` if the developer allows none of its own servers.
    """
    own = operation.get("servers") or item.get("servers")
    if not own:
        return allowed[0]
    urls = list(_urls(own, allowed[0], f"{path}.servers"))
    for url in urls:
        if url in allowed:
            return url
    raise Unusable(
        f"{path}.servers: it has servers of its own ({shown(', '.join(urls))}); add one to servers= to"
        " allow it"
    )


def own_server(
    document: Document,
    item: Mapping[str, Any],
    operation: Mapping[str, Any],
    path: str,
    base: str,
) -> str:
    """Return the first server of an operation; a relative one belongs to the URL `base`.

    Raises `Unusable`.
    """
    own = operation.get("servers") or item.get("servers") or document.root.get("servers")
    for server in _urls(own or [{"url": "/"}], base, f"{path}.servers"):
        return server
    raise Unusable(f"{path}.servers: has no server")


def _urls(servers: object, base: str, path: str) -> Iterator[str]:
    if not isinstance(servers, list) or len(servers) > MAX_SERVERS:
        raise Unusable(f"{path}: must be a list of at most {MAX_SERVERS} servers")
    for server in servers:
        url = server.get("url") if isinstance(server, Mapping) else None
        if not isinstance(url, str):
            raise Unusable(f"{path}: {shown(server)} has no url")
        variables = server.get("variables")
        for name, variable in (variables if isinstance(variables, Mapping) else {}).items():
            default = variable.get("default") if isinstance(variable, Mapping) else None
            url = _filled(url, f"{{{name}}}", str(default), path)
        if len(url) > MAX_SERVER_URL:
            raise Unusable(f"{path}: {shown(url)} has more than {MAX_SERVER_URL:,} characters")
        try:
            yield urljoin(f"{base}/", url).rstrip("/")
        except ValueError:
            raise Unusable(f"{path}: {shown(url)} is not a URL") from None


def _filled(url: str, variable: str, value: str, path: str) -> str:
    size = len(url) + url.count(variable) * (len(value) - len(variable))
    if size > MAX_SERVER_URL:
        raise Unusable(f"{path}: {shown(url)} has more than {MAX_SERVER_URL:,} characters")
    return url.replace(variable, value)


class Credentials:
    """The credentials that the developer gives: one for each security scheme, or one for all."""

    def __init__(self, document: Document, credentials: object) -> None:
        self._document = document
        components = _checked_mapping(document, document.root, "components", "")
        self._schemes = _checked_mapping(document, components, "securitySchemes", "components")
        self._single = credentials if isinstance(credentials, str) else None
        self._by_scheme: Mapping[str, str] = {}
        if isinstance(credentials, Mapping):
            self._by_scheme = credentials
        elif credentials is not None and self._single is None:
            raise DefinitionError(
                f"credentials: {shown(type(credentials).__name__)} must be 'env:NAME', or a dict of them"
                " by the name of the security scheme"
            )
        for name, reference in self._by_scheme.items():
            if name not in self._schemes:
                raise DefinitionError(
                    f"credentials: {shown(name)} is not a security scheme of the document;"
                    f" {hint(str(name), list(self._schemes))}"
                )
            _check_reference(reference)
        if self._single is not None:
            _check_reference(self._single)

    def of(self, operation: Mapping[str, Any], path: str) -> tuple[Credential, ...]:
        """Return the credentials of an operation. Raises `Unusable` if it needs others."""
        needed = operation.get("security", self._document.root.get("security"))
        if needed is None:
            return () if self._single is None else (_bearer(self._single),)
        if not isinstance(needed, list) or not all(isinstance(each, Mapping) for each in needed):
            raise Unusable(f"{path}.security: {shown(needed)} is not a list of objects")
        ways = [list(each) for each in needed if each]
        for way in ways:
            found = [self._reference(name, way) for name in way]
            if all(found):
                return tuple(
                    self._credential(name, str(reference), path)
                    for name, reference in zip(way, found, strict=True)
                )
        if len(ways) < len(needed) or not ways:
            return ()
        names = " or ".join(" and ".join(map(repr, way)) for way in ways[:3])
        raise Unusable(f"{path}.security: it needs credentials for {names}; give credentials=")

    def _reference(self, scheme: str, way: Sequence[str]) -> str | None:
        single = self._single if len(way) == 1 else None
        return self._by_scheme.get(scheme, single)

    def _credential(self, name: str, reference: str, path: str) -> Credential:
        where = f"components.securitySchemes.{name}"
        if name not in self._schemes:
            raise Unusable(f"{path}.security: {shown(name)} is not in components.securitySchemes")
        scheme = self._document.resolved(self._schemes[name], where)
        kind, http = scheme.get("type"), str(scheme.get("scheme", "")).lower()
        variable = reference.removeprefix("env:")
        if kind in ("oauth2", "openIdConnect") or (kind == "http" and http == "bearer"):
            return _bearer(reference)
        if kind == "http" and http == "basic":
            return Credential("header", "authorization", "Basic", variable)
        place, key = scheme.get("in"), scheme.get("name")
        if kind == "apiKey" and place in ("header", "query", "cookie") and isinstance(key, str):
            if place != "query" and not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", key):
                raise Unusable(f"{where}.name: {shown(key)} is not the name of a {place}")
            return Credential(place, key, "", variable)
        raise Unusable(
            f"{where}: the type {shown(kind)} {shown(http) if http else ''} is not supported; an apiKey,"
            " http bearer or basic, oauth2 and openIdConnect are"
        )


def _bearer(reference: str) -> Credential:
    return Credential("header", "authorization", "Bearer", reference.removeprefix("env:"))


def _check_reference(reference: object) -> None:
    if not isinstance(reference, str) or not CREDENTIALS.fullmatch(reference):
        # The value is not shown: it may be the secret itself.
        raise DefinitionError(
            "credentials: must be 'env:NAME', the variable of the worker that holds the secret"
        )


def _checked_mapping(
    document: Document, node: Mapping[str, Any], key: str, path: str
) -> dict[str, Any]:
    try:
        return document.mapping(node, key, path)
    except Unusable as error:
        raise DefinitionError(f"document: {str(error).lstrip('.')}") from None
