"""Where the files of the workflow lie that stand beside the package in a checkout and below it in a wheel."""

from pathlib import Path

PACKAGE = Path(__file__).parent
IS_CHECKOUT = (PACKAGE.parent / "Snakefile").is_file()
ROOT = PACKAGE.parent if IS_CHECKOUT else PACKAGE / "workflow"
"""Folder of Snakefile, rules, scripts, envs, profiles, recipes, resources and config.yaml."""
