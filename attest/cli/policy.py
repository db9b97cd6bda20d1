"""`etmcp-verify policy check FILE`: says in words what an appraisal policy asks for."""

import argparse
import json

from attest.caveats import caveats
from attest.cli import Given, Said, accepted
from attest.explain import Sentence, explain


def declare(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("file", metavar="FILE", help="a policy file, or the name of a preset")
    parser.add_argument("--json", action="store_true", help="print the sentences as JSON")


def run(options: argparse.Namespace, given: Given) -> Said:
    """Exit code 0. Raises `UserError` where the file is no policy."""
    policy, programs = accepted(options.file, given)
    sentences = explain(policy)
    if programs is not None:
        listed = ", ".join(sorted(programs)) or "none"
        sentences.append(
            Sentence(
                "Requires", f"each result of a tool to be proven for its call under one of these programs: {listed}"
            )
        )
    sentences += [Sentence("Notes", f"that {note}") for note in caveats(policy)]
    if options.json:
        return Said((json.dumps([sentence.to_json() for sentence in sentences]),), 0)
    return Said(tuple(f"{'  ' * said.depth}{said.verb} {said.text}." for said in sentences), 0)
