# The recall study's training data. Its models train and are evaluated by the rules of every model.


rule write_recall_data:
    output:
        directory("<results>/recall/{data}/{length}/packed"),
    log:
        "<logs>/recall/{data}/{length}.log",
    benchmark:
        "<benchmarks>/recall/{data}/{length}.tsv"
    wildcard_constraints:
        data=alternatives(RUN.recall_data),
        length=r"\d+",
    conda:
        "../envs/pipeline.yaml"
    resources:
        **RUN.resources("pipeline"),
    params:
        digest=lambda wildcards: RUN.recall_digest(
            RUN.recipe.recall.data[wildcards.data]
        ),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/write_recall_data.py" --data {wildcards.data}'
        " --length {wildcards.length} --output {output} > {log} 2>&1"
