"""Snakemake as the commands become it: `python -m selflong.snakemake`. Its import alone takes a second."""

# ruff: noqa: E402
from selflong.interrupt import end_at_once, raised

end_at_once()

from snakemake.cli import main

if __name__ == "__main__":
    with raised():
        main()
