# From loaded weights through the stages of each model to its checkpoints.


rule adjust_rope:
    input:
        initial=lambda wildcards: INPUTS.initial(wildcards.checkpoint),
    output:
        output=directory(RESULTS.checkpoint("{checkpoint}")),
    log:
        "<logs>/training/rope/{checkpoint}.log",
    benchmark:
        "<benchmarks>/training/rope/{checkpoint}.tsv"
    wildcard_constraints:
        checkpoint=alternatives(INPUTS.adjusted_checkpoints),
    conda:
        "../envs/training.yaml"
    resources:
        **JOBS.resources("pipeline"),
    params:
        digest=lambda wildcards: DIGESTS.adjustment(wildcards.checkpoint),
        options=options(checkpoint="{checkpoint}"),
    shell:
        'exec "$TRAINING_PYTHON" "$SELFLONG/scripts/adjust_rope.py" {params.options} > {log:q} 2>&1'


rule train_stage:
    input:
        initial=lambda wildcards: INPUTS.initial(wildcards.checkpoint),
        packed=lambda wildcards: INPUTS.packed(wildcards.checkpoint),
    output:
        output=directory(RESULTS.checkpoint("{checkpoint}")),
    log:
        "<logs>/training/{checkpoint}.log",
    benchmark:
        "<benchmarks>/training/{checkpoint}.tsv"
    wildcard_constraints:
        checkpoint=alternatives(INPUTS.trained_checkpoints),
    retries: TRAINING_RETRIES
    conda:
        "../envs/training.yaml"
    threads: JOBS.threads("training")
    resources:
        **JOBS.resources("training"),
    params:
        digest=lambda wildcards: DIGESTS.training(wildcards.checkpoint),
        options=options(
            checkpoint="{checkpoint}", work=JOBS.work / "training/{checkpoint}"
        ),
    shell:
        'exec $TRAINING_LAUNCH "$TRAINING_PYTHON" "$SELFLONG/scripts/train_stage.py" {params.options} > {log:q} 2>&1'
