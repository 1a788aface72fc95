"""Compare an index with exact search on a sample of its own documents."""

from selflong.launcher import launch
from selflong.retrieval.quality import measure_retrieval

if __name__ == "__main__":
    launch(measure_retrieval)
