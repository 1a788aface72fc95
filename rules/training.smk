# From loaded weights through the stages of each model to its checkpoints.


rule load_model:
    input:
        lambda wildcards: INPUTS.model_weights(wildcards.model),
    output:
        directory(RESULTS.checkpoint("{model}/initial")),
    log:
        "<logs>/training/load/{model}.log",
    benchmark:
        "<benchmarks>/training/load/{model}.tsv"
    conda:
        "../envs/training.yaml"
    resources:
        **JOBS.resources("pipeline"),
    params:
        digest=lambda wildcards: DIGESTS.weights(wildcards.model),
    shell:
        'exec "$TRAINING_PYTHON" "$SELFLONG/scripts/load_model.py" --model {wildcards.model}'
        " --download {input} --output {output} > {log} 2>&1"


rule adjust_rope:
    input:
        initial=lambda wildcards: INPUTS.initial(wildcards.checkpoint),
    output:
        directory(RESULTS.checkpoint("{checkpoint}")),
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
    shell:
        'exec "$TRAINING_PYTHON" "$SELFLONG/scripts/adjust_rope.py"'
        " --checkpoint {wildcards.checkpoint} --initial {input.initial} --output {output}"
        " > {log} 2>&1"


rule train_stage:
    input:
        initial=lambda wildcards: INPUTS.initial(wildcards.checkpoint),
        packed=lambda wildcards: INPUTS.packed(wildcards.checkpoint),
    output:
        directory(RESULTS.checkpoint("{checkpoint}")),
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
    shell:
        'exec $TRAINING_LAUNCH "$TRAINING_PYTHON" "$SELFLONG/scripts/train_stage.py"'
        " --checkpoint {wildcards.checkpoint} --initial {input.initial} --packed {input.packed}"
        ' --work "$SELFLONG_WORK/training/{wildcards.checkpoint}"'
        " --output {output} > {log} 2>&1"
