# The recall study: its training data and its measurement. Its models train by the rules of every model.


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


rule measure_recall:
    input:
        "<results>/models/{model}/{stage}",
    output:
        "<results>/evaluation/{suite}/{model}/{stage}/all.parquet",
    log:
        "<logs>/evaluation/{suite}/{model}/{stage}/all.log",
    benchmark:
        "<benchmarks>/evaluation/{suite}/{model}/{stage}/all.tsv"
    wildcard_constraints:
        suite=alternatives(RUN.recall_suites),
    conda:
        "../envs/evaluation.yaml"
    resources:
        **RUN.resources("evaluation"),
    params:
        digest=lambda wildcards: RUN.recall_digest(RUN.recipe.suites[wildcards.suite]),
    shell:
        'export OMP_NUM_THREADS=1; exec "$EVALUATION_PYTHON" "$SELFLONG/scripts/measure_recall.py"'
        " --suite {wildcards.suite} --checkpoint {wildcards.model}/{wildcards.stage}"
        " --model {input} --output {output} > {log} 2>&1"
