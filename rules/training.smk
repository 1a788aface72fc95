# From loaded weights through the stages of each model to its checkpoints.


rule load_model:
    input:
        lambda wildcards: RUN.files_of(RUN.recipe.models[wildcards.model].weights),
    output:
        directory("<results>/models/{model}/initial"),
    log:
        "<logs>/training/load/{model}.log",
    benchmark:
        "<benchmarks>/training/load/{model}.tsv"
    conda:
        "../envs/training.yaml"
    resources:
        **RUN.resources("pipeline"),
    params:
        digest=lambda wildcards: RUN.weights_digest(wildcards.model),
    shell:
        'exec "$TRAINING_PYTHON" "$SELFLONG/scripts/load_model.py" --model {wildcards.model}'
        " --download {input} --output {output} > {log} 2>&1"


rule measure_machine:
    input:
        # A model that is loaded again is no reason to decide again.
        ancient(RUN.measured_model),
    output:
        "<results>/machine.json",
    log:
        "<logs>/training/machine.log",
    benchmark:
        "<benchmarks>/training/machine.tsv"
    conda:
        "../envs/training.yaml"
    threads: RUN.measured_threads
    resources:
        **RUN.resources("pipeline"),
    shell:
        'exec "$TRAINING_PYTHON" "$SELFLONG/scripts/measure_machine.py" --model {input}'
        " --threads {threads} --output {output} 2> >(tee {log} >&2)"


rule adjust_rope:
    input:
        initial=lambda wildcards: RUN.initial(wildcards.checkpoint),
    output:
        directory("<results>/models/{checkpoint}"),
    log:
        "<logs>/training/rope/{checkpoint}.log",
    benchmark:
        "<benchmarks>/training/rope/{checkpoint}.tsv"
    wildcard_constraints:
        checkpoint=alternatives(RUN.adjusted_checkpoints),
    conda:
        "../envs/training.yaml"
    resources:
        **RUN.resources("pipeline"),
    params:
        digest=lambda wildcards: RUN.digest(
            "training", RUN.recipe.stage(wildcards.checkpoint)
        ),
    shell:
        'exec "$TRAINING_PYTHON" "$SELFLONG/scripts/adjust_rope.py"'
        " --checkpoint {wildcards.checkpoint} --initial {input.initial} --output {output}"
        " > {log} 2>&1"


rule train_stage:
    input:
        initial=lambda wildcards: RUN.initial(wildcards.checkpoint),
        packed=lambda wildcards: RUN.packed(wildcards.checkpoint),
        machine=lambda wildcards: RUN.training_machine(wildcards.checkpoint),
    output:
        directory("<results>/models/{checkpoint}"),
    log:
        "<logs>/training/{checkpoint}.log",
    benchmark:
        "<benchmarks>/training/{checkpoint}.tsv"
    wildcard_constraints:
        checkpoint=alternatives(RUN.trained_checkpoints),
    retries: TRAINING_RETRIES
    conda:
        "../envs/training.yaml"
    threads: RUN.threads("training")
    resources:
        **RUN.resources("training"),
    params:
        digest=lambda wildcards: RUN.training_digest(wildcards.checkpoint),
    shell:
        'exec $TRAINING_LAUNCH "$TRAINING_PYTHON" "$SELFLONG/scripts/train_stage.py"'
        " --checkpoint {wildcards.checkpoint} --initial {input.initial} --packed {input.packed}"
        " --machine {input.machine}"
        ' --work "$SELFLONG_WORK/training/{wildcards.checkpoint}"'
        " --output {output} > {log} 2>&1"
