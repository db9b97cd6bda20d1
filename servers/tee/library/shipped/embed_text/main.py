"""Vectors of texts by a small static model: `main(texts, ...)`. Runs in the sandbox; the weights are in the package."""

import os
from pathlib import Path
from typing import Any, cast

os.environ["HOME"] = "/tmp"  # noqa: S108 - one of the libraries wants a home; this is the sandbox's own memory

import wordllama

_MODEL = cast(Any, wordllama.WordLlama).load(
    config="l2_supercat", dim=256, cache_dir=Path(wordllama.__file__).parent, disable_download=True
)


def main(texts: list[str], query: str | None = None, dimensions: int = 256) -> dict[str, Any]:
    """A unit vector for each text; with `query`, how similar each is to it instead, from -1 to 1."""
    vectors: Any = _MODEL.embed([*texts, *([query] if query is not None else [])], norm=True)[:, :dimensions]
    lengths: Any = (vectors**2).sum(axis=1, keepdims=True) ** 0.5
    unit: Any = vectors / lengths.clip(1e-12)
    told: dict[str, Any] = {"model": f"wordllama {wordllama.__version__} l2_supercat_256", "dimensions": dimensions}
    if query is None:
        rows = cast(list[list[float]], unit.tolist())
        return told | {"vectors": [[round(x, 6) for x in row] for row in rows]}
    scores = [round(score, 6) for score in cast(list[float], (unit[:-1] @ unit[-1]).tolist())]
    return told | {"scores": scores, "order": sorted(range(len(texts)), key=lambda each: -scores[each])}
