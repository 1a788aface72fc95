"""Answer the instructions of a shard from recursive summaries of their documents."""

from selflong.launcher import launch
from selflong.synthesis.answers import long_input
from selflong.synthesis.serving import served_setting

if __name__ == "__main__":
    launch(long_input, resumes=True, setting=served_setting)
