"""Write a shard of questions over two documents."""

from selflong.launcher import launch
from selflong.synthesis.documents import SampleShard
from selflong.synthesis.multi_hop import multi_hop
from selflong.synthesis.serving import served_setting

if __name__ == "__main__":
    launch(multi_hop, resumes=True, setting=served_setting, files=SampleShard)
