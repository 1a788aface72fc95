# Targets and includes, nothing else.

from snakemake.utils import min_version

min_version("9.14")


include: "rules/common.smk"
include: "rules/download.smk"
include: "rules/training.smk"


rule all:
    default_target: True
    input:
        RUN.checkpoint("full"),
