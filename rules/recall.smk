# The recall study's training data. Its models train and are evaluated by the rules of every model.


rule write_recall_data:
    output:
        output=directory(RESULTS.recall_packed("{data}", "{length}")),
    log:
        "<logs>/recall/{data}/{length}.log",
    benchmark:
        "<benchmarks>/recall/{data}/{length}.tsv"
    wildcard_constraints:
        data=alternatives(INPUTS.recall_data),
        length=r"\d+",
    conda:
        "../envs/pipeline.yaml"
    resources:
        **JOBS.resources("pipeline"),
    params:
        digest=lambda wildcards: DIGESTS.recall_data(wildcards.data),
        options=options(data="{data}", packed_tokens="{length}"),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/write_recall_data.py" {params.options} > {log:q} 2>&1'
