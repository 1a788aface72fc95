"""What the launchers of the synthesis share."""

import argparse
from contextlib import AbstractContextManager
from pathlib import Path

from selflong.launcher import job_parser
from selflong.synthesis.agent import Setting
from selflong.synthesis.serving import served_setting


def generator_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of what every job of the synthesis takes."""
    parser = job_parser(description)
    parser.add_argument("--generator", required=True, help="a generator of the recipe")
    parser.add_argument("--shard", type=int, required=True)
    parser.add_argument("--digest", required=True, help="of the settings, for the provenance")
    parser.add_argument("--documents", type=Path, nargs="+", required=True, help="the corpus")
    parser.add_argument("--target", type=Path, required=True, help="tokenizer of the trained model")
    parser.add_argument("--counter", type=Path, required=True, help="tokenizer of the generator")
    parser.add_argument("--weights", type=Path, nargs="*", help="folder of what the hub gave")
    parser.add_argument("--work", type=Path, required=True, help="keeps the answered requests")
    parser.add_argument("--server-log", type=Path, required=True)
    parser.add_argument("--drops", type=Path, required=True, help="what was dropped, and why")
    parser.add_argument("--usage", type=Path, required=True, help="requests and tokens")
    return parser


def served(arguments: argparse.Namespace) -> AbstractContextManager[Setting]:
    """The generator of `generator_parser`'s arguments, served."""
    return served_setting(
        arguments.recipe,
        arguments.site,
        arguments.generator,
        digest=arguments.digest,
        work=arguments.work,
        log=arguments.server_log,
        target=arguments.target,
        counter=arguments.counter,
        download=next(iter(arguments.weights), None),
    )
