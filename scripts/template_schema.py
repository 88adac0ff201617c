"""Writes domain/model/library/template.schema.json, the JSON Schema of a template's file, for editors and for a test.

It is what the types in domain/model say. What no schema can say (who is referred to, cycles, parameters in texts) is
held when a file is read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from domain.model.library.loading import file_schema

TARGET: Final = Path(__file__).resolve().parent.parent / "domain" / "model" / "library" / "template.schema.json"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def template_schema() -> str:
    """The text of the file."""
    schema = file_schema()
    parts: dict[str, Any] = schema["$defs"]
    for part in (schema, *parts.values()):
        if "properties" in part:
            part["additionalProperties"] = False
    # A team without a name of its own is called as its template is.
    parts["Blueprint"].pop("required")
    return json.dumps({"$schema": DIALECT, **schema}, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the file; return the exit status."""
    TARGET.write_text(template_schema(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
