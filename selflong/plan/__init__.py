"""What a recipe costs and whether it fits, before it runs."""

from selflong.plan.write import write_plan

VERSION = 1

__all__ = ["VERSION", "write_plan"]
