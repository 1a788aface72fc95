# From checkpoints to predictions and scores; every checkpoint is asked through the same interface.


rule write_evaluation_texts:
    input:
        RUN.named_files,
    output:
        "<results>/evaluation/texts.parquet",
    log:
        "<logs>/evaluation/texts.log",
    benchmark:
        "<benchmarks>/evaluation/texts.tsv"
    conda:
        "../envs/evaluation.yaml"
    resources:
        **RUN.resources("pipeline"),
    params:
        digest=RUN.texts_digest(),
    shell:
        'exec "$EVALUATION_PYTHON" "$SELFLONG/scripts/write_evaluation_texts.py" --output {output}'
        " > {log} 2>&1"


rule evaluate:
    input:
        model="<results>/models/{model}/{stage}",
        tokenizer=lambda wildcards: RUN.tokenizer(
            f"{wildcards.model}/{wildcards.stage}"
        ),
        files=lambda wildcards: RUN.suite_files(wildcards.suite),
        machine=lambda wildcards: RUN.evaluation_machine(),
    output:
        "<results>/evaluation/{suite}/{model}/{stage}/{lengths}.parquet",
    log:
        "<logs>/evaluation/{suite}/{model}/{stage}/{lengths}.log",
    benchmark:
        "<benchmarks>/evaluation/{suite}/{model}/{stage}/{lengths}.tsv"
    wildcard_constraints:
        suite=alternatives(RUN.asked_suites),
    conda:
        "../envs/evaluation.yaml"
    threads: RUN.threads("evaluation")
    resources:
        **RUN.resources("evaluation"),
    params:
        digest=lambda wildcards: RUN.evaluation_digest(wildcards.suite),
    shell:
        'exec "$EVALUATION_PYTHON" "$SELFLONG/scripts/evaluate.py" --suite {wildcards.suite}'
        " --checkpoint {wildcards.model}/{wildcards.stage} --lengths {wildcards.lengths}"
        " --model {input.model} --tokenizer {input.tokenizer} --files {input.files}"
        " --machine {input.machine}"
        ' --work "$SELFLONG_WORK/evaluation/{wildcards.suite}/{wildcards.model}/{wildcards.stage}"'
        " --output {output} > {log} 2>&1"


rule score_stored:
    input:
        files=lambda wildcards: RUN.suite_files(wildcards.suite),
    output:
        "<results>/evaluation/{suite}/stored.parquet",
    log:
        "<logs>/evaluation/{suite}/stored.log",
    benchmark:
        "<benchmarks>/evaluation/{suite}/stored.tsv"
    wildcard_constraints:
        suite=alternatives(RUN.published_suites),
    conda:
        "../envs/evaluation.yaml"
    resources:
        **RUN.resources("pipeline"),
    params:
        digest=lambda wildcards: RUN.digest(
            "evaluation", RUN.recipe.suites[wildcards.suite]
        ),
    shell:
        'exec "$EVALUATION_PYTHON" "$SELFLONG/scripts/score_stored.py" --suite {wildcards.suite}'
        " --published {input.files} --output {output} > {log} 2>&1"


rule score:
    input:
        lambda wildcards: RUN.predictions(wildcards.suite),
    output:
        "<results>/evaluation/{suite}/scores.parquet",
    log:
        "<logs>/evaluation/{suite}/score.log",
    benchmark:
        "<benchmarks>/evaluation/{suite}/score.tsv"
    conda:
        "../envs/evaluation.yaml"
    resources:
        **RUN.resources("pipeline"),
    params:
        digest=lambda wildcards: RUN.digest(
            "evaluation", RUN.recipe.suites[wildcards.suite]
        ),
    shell:
        'exec "$EVALUATION_PYTHON" "$SELFLONG/scripts/score.py" --suite {wildcards.suite}'
        " --predictions {input} --output {output} > {log} 2>&1"
