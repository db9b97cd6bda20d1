"""`etmcp-verify cases MANIFEST`: judges every case of a table and compares with what it should be."""

import argparse
import json

from attest.cases import UNREAD, Judged, judge_cases
from attest.cli import Given, Said, UserError, declare_trust, trusted
from attest.errors import EvidenceError


def declare(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("manifest", metavar="MANIFEST", help="cases with expected verdicts; files beside it (JSON)")
    declare_trust(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON array")


def run(options: argparse.Namespace, given: Given) -> Said:
    """Exit codes: 0 where every verdict is the expected one, else 1. Raises `UserError`."""
    manifest: str = options.manifest
    folder, slash, _ = manifest.rpartition("/")

    def read(name: str) -> bytes:
        try:
            return given.read(name if name.startswith("/") else f"{folder}{slash}{name}")
        except UserError as e:
            raise EvidenceError(UNREAD, str(e)) from e

    trust, denylist = trusted(options, given)
    judged = given.load(manifest, lambda data: list(judge_cases(data, read, trust, denylist)))
    lines = (json.dumps([case.to_json() for case in judged]),) if options.json else (*map(_line, judged), _sum(judged))
    return Said(lines, 0 if judged and all(case.agreed for case in judged) else 1)


def _line(case: Judged) -> str:
    verdict = f"{case.verdict} [{case.code}]" if case.code else case.verdict
    agreed = "agreed" if case.agreed else "NOT AGREED"
    return f"{case.case}: {verdict}, expected {case.expected}: {agreed}{f' ({case.reason})' if case.reason else ''}"


def _sum(judged: list[Judged]) -> str:
    return f"{sum(case.agreed for case in judged)} of {len(judged)} agreed"
