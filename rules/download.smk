# What comes from the hub. Compute nodes have no network, so these run where Snakemake runs.


localrules:
    download,


rule download:
    output:
        directory("<downloads>/{download}"),
    params:
        digest=lambda wildcards: RUN.downloads[wildcards.download].digest,
    log:
        "<logs>/download/{download}.log",
    benchmark:
        "<benchmarks>/download/{download}.tsv"
    conda:
        "../envs/pipeline.yaml"
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/download.py" --name {wildcards.download}'
        " --output {output} > {log} 2>&1"
