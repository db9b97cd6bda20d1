"""WIRE.md names every code, key and member that there is."""

import re
from pathlib import Path

import pytest

from attest import wire
from attest.bundle import FORMAT
from attest.canonical import parse
from attest.manifest import MODEL_MEMBERS
from attest.schemes.software import MEDIA_TYPE
from attest.verdict import STEPS
from gateway.errors import REASONS
from gateway.resolve import ADVICE
from registry.api import STATUS_OF
from registry.catalogue.challenge import PUBLISH, STATUS
from registry.write import AUTHORIZATION
from tests.attest.made import MANIFEST, STATEMENT, bundle, receipt
from tests.attest.test_call import HEADER, plain, sealed
from tests.attest.test_vectors import CODES, VECTORS

TEXT = (Path(__file__).parents[2] / "WIRE.md").read_text(encoding="utf-8")
SECTIONS = {int(part.partition(".")[0]): part for part in TEXT.split("\n## ")[1:]}
WORDS = {number: set(re.findall(r"[\w./:+-]+", section)) for number, section in SECTIONS.items()}


def members(data: bytes) -> set[str]:
    return set(parse(data)["predicate"])


@pytest.mark.parametrize(
    ("section", "names"),
    [
        (1, set(CODES)),
        (3, {wire.EXTENSION, wire.CALL, wire.RECEIPT, wire.SEALED, wire.VERIFICATION, wire.REFUSAL}),
        (4, set(parse(bundle().encode())["evidence"]["binding"]) | {MEDIA_TYPE}),
        (4, {"attester", "reportData", "selfReported", "issuedAt", "expiresAt"}),
        (5, set(HEADER.to_json()) | set(plain()["_meta"][wire.CALL]) | set(sealed()["_meta"][wire.CALL])),
        (6, members(STATEMENT.encode()) | set(receipt().to_json())),
        (7, set(wire.REFUSALS)),
        (8, set(REASONS)),
        (9, set(parse(bundle().encode())) | set(STEPS) | {FORMAT}),
        (9, {path.stem.split("-")[1] for path in (VECTORS / "bundles").glob("bad-*")}),
        (10, members(MANIFEST.encode()) | set(MODEL_MEMBERS)),
        (11, set(STATUS_OF) | set(ADVICE) | {AUTHORIZATION, PUBLISH.decode(), STATUS.decode()}),
    ],
)
def test_the_section_names_everything_of_its_kind(section: int, names: set[str]) -> None:
    assert names - WORDS[section] == set()


def test_every_vector_folder_that_it_points_to_is_there() -> None:
    named = set(re.findall(r"`((?:canonical|bundles|trust|policy|manifests)/|values/\w+\.json)`", TEXT))
    assert len(named) > 10
    assert [name for name in named if not (VECTORS / name).exists()] == []
