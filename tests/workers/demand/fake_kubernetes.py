"""A fake of Kubernetes' API server: it has pods by name, and accepts merge patches of their annotations.

It uses real TLS with its own CA, which has no key identifiers, as that of EKS. The folder of the service
account is as Kubernetes mounts it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from outlast_workers.local.ports import HOST, free_port
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.loopback import listening
from tests.workers.demand.certificates import Authority

NAMESPACE = "agents"


class FakeKubernetes:
    """`costs` holds the last cost of each pod, `patched` the pod of every patch.

    Every answer takes `takes_s`, or only the answers for `slow_pod` if it is set.
    """

    def __init__(self, *pods: str) -> None:
        self.port = free_port()
        self.token = "first"  # noqa: S105 of a fake
        self.costs: dict[str, str | None] = dict.fromkeys(pods)
        self.patched: list[str] = []
        self.fails_with: int | None = None
        self.takes_s = 0.0
        self.slow_pod: str | None = None
        self.most_at_once = 0
        self._at_once = 0

    @property
    def variables(self) -> dict[str, str]:
        return {"KUBERNETES_SERVICE_HOST": HOST, "KUBERNETES_SERVICE_PORT": str(self.port)}

    def write_token(self, account: Path) -> None:
        (account / "token").write_text(self.token + "\n")

    async def patch(self, request: Request) -> Response:
        pod = request.path_params["pod"]
        self.patched.append(pod)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await asyncio.sleep(self.takes_s if self.slow_pod in (None, pod) else 0)
        finally:
            self._at_once -= 1
        if request.headers["authorization"] != f"Bearer {self.token}":
            return _status(401, "Unauthorized")
        if self.fails_with:
            return _status(self.fails_with, f'pods "{pod}" is forbidden')
        if pod not in self.costs:
            return _status(404, f'pods "{pod}" not found')
        if request.headers["content-type"] != "application/merge-patch+json":
            return _status(415, "the body of the request was in an unknown format")
        change = await request.json()
        ((key, value),) = change["metadata"]["annotations"].items()
        assert key == "controller.kubernetes.io/pod-deletion-cost"
        assert set(change) == {"metadata"}
        self.costs[pod] = value
        return JSONResponse({"kind": "Pod", **change})


def _status(code: int, message: str) -> Response:
    return JSONResponse({"kind": "Status", "message": message, "code": code}, code)


@asynccontextmanager
async def serving(fake: FakeKubernetes, account: Path) -> AsyncIterator[FakeKubernetes]:
    """Serve a fake while the block runs, and fill the folder of an account."""
    server = Authority(account, key_identifiers=False).issue("server")
    (account / "namespace").write_text(NAMESPACE)
    fake.write_token(account)
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{{pod}}"
    app = Starlette(routes=[Route(path, fake.patch, methods=["PATCH"])])
    tls = {"ssl_certfile": server.cert, "ssl_keyfile": server.key}
    async with listening(app, fake.port, timeout_graceful_shutdown=1, **tls):
        yield fake
