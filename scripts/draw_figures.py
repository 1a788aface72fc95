"""Draw every figure of a recipe as PNG, PDF and SVG."""

from selflong.launcher import launch
from selflong.report.build import write_report_figures
from selflong.results import results_of

if __name__ == "__main__":
    launch(write_report_figures, results=results_of)
