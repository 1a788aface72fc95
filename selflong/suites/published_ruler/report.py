"""Tables and figures of the published RULER sets: those of RULER."""

from selflong.suites.ruler.report import figures, tables

__all__ = ["figures", "tables"]
