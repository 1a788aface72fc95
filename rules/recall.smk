# The recall study: its training data and its measurement. Its models train by the rules of every model.


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


rule measure_recall:
    input:
        model=RESULTS.checkpoint("{model}/{stage}"),
    output:
        output=RESULTS.predictions("{suite}", "{model}/{stage}", "all"),
    log:
        "<logs>/evaluation/{suite}/{model}/{stage}/all.log",
    benchmark:
        "<benchmarks>/evaluation/{suite}/{model}/{stage}/all.tsv"
    wildcard_constraints:
        suite=alternatives(INPUTS.recall_suites),
    conda:
        "../envs/evaluation.yaml"
    resources:
        **JOBS.resources("evaluation"),
    params:
        digest=lambda wildcards: DIGESTS.recall(RUN.recipe.suites[wildcards.suite]),
        options=options(name="{suite}", checkpoint="{model}/{stage}"),
    shell:
        'export OMP_NUM_THREADS=1; exec "$EVALUATION_PYTHON" "$SELFLONG/scripts/measure_recall.py" {params.options} > {log:q} 2>&1'
