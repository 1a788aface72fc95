"""Write the page that shows a recipe's tables and figures without a network."""

from selflong.launcher import launch
from selflong.report.page import write_page
from selflong.results import results_of

if __name__ == "__main__":
    launch(write_page, results=results_of)
