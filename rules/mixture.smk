# From samples of every source to the packed sequences of each stage.


rule build_mixture:
    input:
        unpack(lambda wildcards: INPUTS.entries(wildcards.mixture)),
        tokenizer=lambda wildcards: INPUTS.mixture_tokenizer(
            wildcards.mixture, wildcards.stage
        ),
        evaluation_texts=RESULTS.evaluation_texts,
    output:
        packed=directory(RESULTS.packed("{mixture}", "{stage}")),
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
        entries=lambda wildcards: INPUTS.entry_arguments(wildcards.mixture),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/build_mixture.py"'
        " --mixture {wildcards.mixture} --stage {wildcards.stage} {params.entries}"
        " --tokenizer {input.tokenizer} --evaluation-texts {input.evaluation_texts}"
        ' --work "$SELFLONG_WORK/mixtures/{wildcards.mixture}" --processes {resources.cpus_per_task}'
        " --packed {output.packed} --accounting {output.accounting}"
        " --contamination {output.contamination} > {log} 2>&1"
