"""What a person puts in the place of `${…}` in a manifest, as `envsubst` does."""

import re
from collections.abc import Mapping

BUILD_ID = "2026-11-24"

VALUES = {
    "BUILD_ID": BUILD_ID,
    "DEMAND_URL": "http://demand:8070",
    "GROUP": "a-group",
    "IMAGE_REGISTRY": "registry.example.com/outlast",
    "MODEL_API_KEY": "a-key",
    "MODEL_NAME": "a-model",
    "MODEL_URL": "https://models.example.com/v1",
    "OLD_BUILD_ID": "2026-11-10",
    "PROJECT": "a-project",
    "REGION": "europe-west1",
    "REGISTRY": "registry.example.com/outlast",
    "SERVER_ACCOUNT": "temporal@a-project.iam.gserviceaccount.com",
    "TEMPORAL_ADDRESS": "temporal.example.com:7233",
    "TEMPORAL_NAMESPACE": "default",
}


def filled(text: str, values: Mapping[str, str] = VALUES) -> str:
    """Replace every `${NAME}` and `$NAME`; raises `KeyError` for one that no README tells to set."""
    return re.sub(r"\$\{?([A-Z_]+)\}?", lambda found: values[found[1]], text)
