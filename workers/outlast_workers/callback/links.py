"""Links: signed, so that whoever holds one may settle its request, and no other."""

from dataclasses import dataclass

from itsdangerous import BadSignature, URLSafeSerializer

from outlast.contracts.human import PendingRequest

SALT = "outlast.decide"


@dataclass(frozen=True)
class Link:
    """What a link is about. It is worth something for as long as its request waits."""

    workflow_id: str
    run_id: str
    request_id: str


class Links:
    """Makes and reads the links of one callback service."""

    def __init__(self, secret: str, base_url: str = "") -> None:
        self._serializer = URLSafeSerializer(secret, salt=SALT)
        self._base_url = base_url.rstrip("/")

    def url(self, workflow_id: str, run_id: str, request: PendingRequest) -> str:
        """Return the address at which a request is settled."""
        token = self._serializer.dumps([workflow_id, run_id, request.request_id])
        return f"{self._base_url}/r/{token}"

    def read(self, token: str) -> Link | None:
        """Return what a link is about, None for one that was not made with the secret."""
        try:
            workflow_id, run_id, request_id = self._serializer.loads(token)
        except (BadSignature, ValueError, TypeError):
            return None
        return Link(workflow_id, run_id, request_id)
