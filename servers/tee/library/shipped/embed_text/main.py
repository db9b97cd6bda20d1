"""Vectors of texts by a small static model: `main(texts, ...)`. Runs in the sandbox; the weights are in the package."""

from pathlib import Path
from typing import Any

import wordllama
from wordllama import WordLlama

_MODEL = WordLlama.load(
    config="l2_supercat", dim=256, cache_dir=Path(wordllama.__file__).parent, disable_download=True
)


def main(texts: list[str], query: str | None = None, dimensions: int = 256) -> dict[str, Any]:
    """A unit vector for each text; with `query`, how similar each is to it instead, from -1 to 1."""
    vectors = _MODEL.embed([*texts, *([query] if query is not None else [])], norm=True)[:, :dimensions]
    lengths = (vectors**2).sum(axis=1, keepdims=True) ** 0.5
    vectors = vectors / lengths.clip(1e-12)
    told: dict[str, Any] = {"model": f"wordllama {wordllama.__version__} l2_supercat_256", "dimensions": dimensions}
    if query is None:
        return told | {"vectors": [[round(float(x), 6) for x in row] for row in vectors]}
    scores = [round(float(score), 6) for score in vectors[:-1] @ vectors[-1]]
    order = sorted(range(len(texts)), key=lambda each: -scores[each])
    return told | {"scores": scores, "order": order}
