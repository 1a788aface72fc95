# From checkpoints to predictions and scores; every checkpoint is asked through the same interface.


rule write_evaluation_texts:
    input:
        INPUTS.named_files,
    output:
        RESULTS.evaluation_texts,
    log:
        "<logs>/evaluation/texts.log",
    benchmark:
        "<benchmarks>/evaluation/texts.tsv"
    conda:
        "../envs/evaluation.yaml"
    resources:
        **JOBS.resources("pipeline"),
    params:
        digest=DIGESTS.evaluation_texts(),
    shell:
        'exec "$EVALUATION_PYTHON" "$SELFLONG/scripts/write_evaluation_texts.py" --output {output}'
        " > {log} 2>&1"


rule evaluate:
    input:
        model=RESULTS.checkpoint("{model}/{stage}"),
        tokenizer=lambda wildcards: INPUTS.tokenizer(
            f"{wildcards.model}/{wildcards.stage}"
        ),
        files=lambda wildcards: INPUTS.suite_files(wildcards.suite),
    output:
        RESULTS.predictions("{suite}", "{model}/{stage}", "{lengths}"),
    log:
        "<logs>/evaluation/{suite}/{model}/{stage}/{lengths}.log",
    benchmark:
        "<benchmarks>/evaluation/{suite}/{model}/{stage}/{lengths}.tsv"
    wildcard_constraints:
        suite=alternatives(INPUTS.asked_suites),
    conda:
        "../envs/evaluation.yaml"
    threads: JOBS.threads("evaluation")
    resources:
        **JOBS.resources("evaluation"),
    params:
        digest=lambda wildcards: DIGESTS.suite(wildcards.suite),
    shell:
        'exec "$EVALUATION_PYTHON" "$SELFLONG/scripts/evaluate.py" --suite {wildcards.suite}'
        " --checkpoint {wildcards.model}/{wildcards.stage} --lengths {wildcards.lengths}"
        " --model {input.model} --tokenizer {input.tokenizer} --files {input.files}"
        ' --work "$SELFLONG_WORK/evaluation/{wildcards.suite}/{wildcards.model}/{wildcards.stage}"'
        " --output {output} > {log} 2>&1"


rule score_stored:
    input:
        files=lambda wildcards: INPUTS.suite_files(wildcards.suite),
    output:
        RESULTS.stored_predictions("{suite}"),
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
    shell:
        'exec "$EVALUATION_PYTHON" "$SELFLONG/scripts/score_stored.py" --suite {wildcards.suite}'
        " --published {input.files} --output {output} > {log} 2>&1"


rule score:
    input:
        lambda wildcards: INPUTS.predictions(wildcards.suite),
    output:
        RESULTS.scores("{suite}"),
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
    shell:
        'exec "$EVALUATION_PYTHON" "$SELFLONG/scripts/score.py" --suite {wildcards.suite}'
        " --predictions {input} --output {output} > {log} 2>&1"
