"""Back-translate a writing instruction for each document of a shard of long-output samples."""

from selflong.launcher import launch
from selflong.synthesis.backtranslation import long_output
from selflong.synthesis.documents import SampleShard
from selflong.synthesis.serving import served_setting

if __name__ == "__main__":
    launch(long_output, resumes=True, setting=served_setting, files=SampleShard)
