# From samples of every source to the packed sequences of each stage.


rule build_mixture:
    input:
        unpack(lambda wildcards: RUN.entries(wildcards.mixture)),
        tokenizer=lambda wildcards: RUN.mixture_tokenizer(
            wildcards.mixture, wildcards.stage
        ),
        evaluation_texts="<results>/evaluation/texts.parquet",
    output:
        packed=directory("<results>/mixtures/{mixture}/{stage}/packed"),
        accounting="<results>/mixtures/{mixture}/{stage}/accounting.parquet",
        contamination="<results>/mixtures/{mixture}/{stage}/contamination.parquet",
    log:
        "<logs>/mixture/{mixture}/{stage}.log",
    benchmark:
        "<benchmarks>/mixture/{mixture}/{stage}.tsv"
    conda:
        "../envs/pipeline.yaml"
    resources:
        **RUN.resources("pipeline"),
    params:
        digest=lambda wildcards: RUN.mixture_digest(wildcards.mixture, wildcards.stage),
        entries=lambda wildcards: RUN.entry_arguments(wildcards.mixture),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/build_mixture.py"'
        " --mixture {wildcards.mixture} --stage {wildcards.stage} {params.entries}"
        " --tokenizer {input.tokenizer} --evaluation-texts {input.evaluation_texts}"
        ' --work "$SELFLONG_WORK/mixtures/{wildcards.mixture}" --processes {resources.cpus_per_task}'
        " --packed {output.packed} --accounting {output.accounting}"
        " --contamination {output.contamination} > {log} 2>&1"
