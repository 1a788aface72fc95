"""How long Snakemake takes to plan the paper's recipe, and how many jobs it plans.

Prints one line of JSON: dry_run_seconds, jobs.
"""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def dry_run(recipe: str) -> tuple[float, int]:
    """Seconds of `snakemake -n` on a recipe, and the jobs of its DAG."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", "--forceall"]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--config", f"recipe={recipe}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    counted = re.findall(r"^total\s+(\d+)", done.stdout + done.stderr, re.MULTILINE)
    if done.returncode != 0 or not counted:
        sys.exit(done.stdout + done.stderr)
    return seconds, int(counted[-1])


def main() -> None:
    seconds, jobs = dry_run("selflong")
    print(json.dumps({"dry_run_seconds": round(seconds, 2), "jobs": jobs}))


if __name__ == "__main__":
    main()
