"""Write the instructions of a shard of long-input samples."""

from selflong.launcher import launch
from selflong.synthesis.instructions import write_instructions
from selflong.synthesis.serving import served_setting

if __name__ == "__main__":
    launch(write_instructions, resumes=True, setting=served_setting)
