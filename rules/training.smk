# From loaded weights through the stages of each model to its checkpoints.


rule measure_machine:
    input:
        # A model that is loaded again is no reason to decide again.
        model=ancient(INPUTS.measured_model),
    output:
        output=RESULTS.machine,
    log:
        "<logs>/training/machine.log",
    benchmark:
        "<benchmarks>/training/machine.tsv"
    # Every evaluation on a CPU waits for it.
    priority: 1
    conda:
        "../envs/training.yaml"
    threads: JOBS.measured_threads
    resources:
        **JOBS.resources("pipeline"),
    params:
        options=options(threads=JOBS.measured_threads),
    shell:
        'exec "$TRAINING_PYTHON" "$SELFLONG/scripts/measure_machine.py" {params.options} 2> >(tee {log:q} >&2)'


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
        machine=lambda wildcards: INPUTS.stage_machine(wildcards.checkpoint),
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
    threads:
        lambda wildcards: JOBS.stage_threads(
            wildcards.checkpoint, INPUTS.initial(wildcards.checkpoint)
        )
    resources:
        **JOBS.resources("training"),
    params:
        digest=lambda wildcards: DIGESTS.training(wildcards.checkpoint),
        options=options(
            checkpoint="{checkpoint}",
            work=JOBS.work / "training/{checkpoint}",
            warning_seconds=lambda wildcards: WARNING_SECONDS.get(
                wildcards.checkpoint, []
            ),
        ),
    shell:
        'exec $TRAINING_LAUNCH "$TRAINING_PYTHON" "$SELFLONG/scripts/train_stage.py" {params.options} > {log:q} 2>&1'
