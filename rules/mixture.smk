# From samples of every source to the packed sequences of each stage.


rule build_mixture:
    input:
        lambda wildcards: INPUTS.mixture_files(wildcards.mixture),
        tokenizer=lambda wildcards: INPUTS.mixture_tokenizer(
            wildcards.mixture, wildcards.stage
        ),
        evaluation_texts=lambda wildcards: INPUTS.mixture_texts(wildcards.mixture),
    output:
        output=directory(RESULTS.packed("{mixture}", "{stage}")),
        accounting=RESULTS.accounting("{mixture}", "{stage}"),
        contamination=RESULTS.contamination("{mixture}", "{stage}"),
    log:
        "<logs>/mixture/{mixture}/{stage}.log",
    benchmark:
        "<benchmarks>/mixture/{mixture}/{stage}.tsv"
    conda:
        "../envs/pipeline.yaml"
    resources:
        **JOBS.resources("pipeline"),
    params:
        digest=lambda wildcards: DIGESTS.mixture(wildcards.mixture, wildcards.stage),
        options=options(
            mixture_name="{mixture}",
            stage_name="{stage}",
            sample_files=lambda wildcards: INPUTS.entries(wildcards.mixture),
            work=JOBS.work / "mixtures",
        ),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/build_mixture.py" {params.options}'
        " --processes {resources.cpus_per_task} > {log:q} 2>&1"
