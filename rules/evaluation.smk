# From checkpoints to predictions and scores; every checkpoint is asked through the same interface.


rule evaluate:
    input:
        model=RESULTS.checkpoint("{model}/{stage}"),
        tokenizer=lambda wildcards: INPUTS.tokenizer(
            f"{wildcards.model}/{wildcards.stage}"
        ),
        files=lambda wildcards: INPUTS.suite_files(wildcards.suite),
        machine=lambda wildcards: INPUTS.suite_machine(wildcards.suite),
    output:
        output=RESULTS.predictions("{suite}", "{model}/{stage}", "{lengths}"),
    log:
        "<logs>/evaluation/{suite}/{model}/{stage}/{lengths}.log",
    benchmark:
        "<benchmarks>/evaluation/{suite}/{model}/{stage}/{lengths}.tsv"
    wildcard_constraints:
        suite=alternatives(RUN.recipe.suites),
    conda:
        "../envs/evaluation.yaml"
    threads: lambda wildcards: JOBS.suite_threads(wildcards.suite)
    resources:
        **JOBS.resources("evaluation"),
    params:
        digest=lambda wildcards: DIGESTS.asked(
            wildcards.suite, f"{wildcards.model}/{wildcards.stage}", wildcards.lengths
        ),
        options=options(
            suite="{suite}",
            checkpoint="{model}/{stage}",
            lengths="{lengths}",
            work=JOBS.work / "evaluation/{suite}/{model}/{stage}",
        ),
    shell:
        'exec "$EVALUATION_PYTHON" "$SELFLONG/scripts/evaluate.py" {params.options} > {log:q} 2>&1'


rule score_stored:
    input:
        download=lambda wildcards: INPUTS.suite_files(wildcards.suite),
    output:
        output=RESULTS.stored_predictions("{suite}"),
    log:
        "<logs>/evaluation/{suite}/stored.log",
    benchmark:
        "<benchmarks>/evaluation/{suite}/stored.tsv"
    wildcard_constraints:
        suite=alternatives(INPUTS.published_suites),
    conda:
        "../envs/evaluation.yaml"
    resources:
        **JOBS.resources("pipeline"),
    params:
        digest=lambda wildcards: DIGESTS.suite(wildcards.suite),
        options=options(name="{suite}"),
    shell:
        'exec "$EVALUATION_PYTHON" "$SELFLONG/scripts/score_stored.py" {params.options} > {log:q} 2>&1'


rule score:
    input:
        predictions=lambda wildcards: INPUTS.predictions(wildcards.suite),
    output:
        output=RESULTS.scores("{suite}"),
    log:
        "<logs>/evaluation/{suite}/score.log",
    benchmark:
        "<benchmarks>/evaluation/{suite}/score.tsv"
    conda:
        "../envs/evaluation.yaml"
    resources:
        **JOBS.resources("pipeline"),
    params:
        digest=lambda wildcards: DIGESTS.suite(wildcards.suite),
        options=options(name="{suite}"),
    shell:
        'exec "$EVALUATION_PYTHON" "$SELFLONG/scripts/score.py" {params.options} > {log:q} 2>&1'
