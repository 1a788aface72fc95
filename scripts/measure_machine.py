"""Measure what this CPU multiplies in each precision, which decides what `precision: auto` means in a run."""

from selflong.launcher import launch
from selflong.precision import write_machine

if __name__ == "__main__":
    launch(write_machine)
