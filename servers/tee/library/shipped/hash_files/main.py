"""Digests of files: `main(files, binary_files, algorithms)`. Runs in the sandbox."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

NONE: Mapping[str, str] = {}
ALGORITHMS = ("sha256",)


def main(
    files: Mapping[str, str] = NONE, binary_files: Mapping[str, str] = NONE, algorithms: tuple[str, ...] = ALGORITHMS
) -> dict[str, Any]:
    """Each file's size and digests in hex, in the order of names. Raises `ValueError` for one that is not base64."""
    contents = {name: text.encode() for name, text in files.items()}
    for name, text in binary_files.items():
        if name in contents:
            raise ValueError(f"{name}: passed twice, as text and as binary")
        contents[name] = base64.b64decode(text, validate=True)
    return {
        "files": [
            {"name": name, "size": len(contents[name])}
            | {each: hashlib.new(each, contents[name]).hexdigest() for each in algorithms}
            for name in sorted(contents)
        ]
    }
