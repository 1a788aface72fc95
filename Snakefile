# Targets and includes, nothing else.

from snakemake.utils import min_version

min_version("9.14")


include: "rules/common.smk"
include: "rules/beginning.smk"
include: "rules/corpus.smk"
include: "rules/retrieval.smk"
include: "rules/synthesis.smk"
include: "rules/mixture.smk"
include: "rules/training.smk"
include: "rules/evaluation.smk"
include: "rules/report.smk"
include: "rules/plan.smk"


rule all:
    default_target: True
    input:
        RESULTS.page,
        RESULTS.manifest,
