"""The description of the API (docs/openapi.yaml), for tests that are generated from it."""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import openapi_json  # noqa: E402 (the build's own reader)

DOCUMENT = openapi_json.read(ROOT / "docs/openapi.yaml")
