"""Signed links to the decision page. A link gives access to one human request."""

from dataclasses import dataclass

from itsdangerous import BadSignature, URLSafeSerializer
from outlast_activities.notify import DecisionLink

from outlast.contracts.human import PendingRequest
from outlast_workers.settings_sections.people import CallbackSettings

SALT = "outlast.decide"


@dataclass(frozen=True)
class Link:
    """The request that a link points to. The link is useful while the request is pending."""

    workflow_id: str
    run_id: str
    request_id: str


class Links:
    """Creates and reads the links of one decision page."""

    def __init__(self, secret: str, base_url: str = "") -> None:
        self._serializer = URLSafeSerializer(secret, salt=SALT)
        self._base_url = base_url.rstrip("/")

    def url(self, workflow_id: str, run_id: str, request: PendingRequest) -> str:
        """Return the URL of the page for a request."""
        token = self._serializer.dumps([workflow_id, run_id, request.request_id])
        return f"{self._base_url}/r/{token}"

    def read(self, token: str) -> Link | None:
        """Return the link of a token, or None if the token was not signed with the secret."""
        try:
            workflow_id, run_id, request_id = self._serializer.loads(token)
        except (BadSignature, ValueError, TypeError):
            return None
        return Link(workflow_id, run_id, request_id)


def link_to(settings: CallbackSettings) -> DecisionLink | None:
    """Return the function that creates the link of a request, or None without a decision page."""
    if settings.url is None or settings.secret is None:
        return None
    return Links(settings.secret.get_secret_value(), settings.url).url
