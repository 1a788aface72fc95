"""Write a shard of questions on long documents and of summaries of them."""

from selflong.launcher import launch
from selflong.synthesis.document_tasks import document_tasks
from selflong.synthesis.documents import SampleShard
from selflong.synthesis.serving import served_setting

if __name__ == "__main__":
    launch(document_tasks, resumes=True, setting=served_setting, files=SampleShard)
