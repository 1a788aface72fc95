# What comes from the hub. Compute nodes have no network, so these run where Snakemake runs.


localrules:
    download,


rule download:
    output:
        # Not removed before the job starts: another recipe may have brought it meanwhile.
        update(directory("<downloads>/{download}")),
    log:
        "<logs>/download/{download}.log",
    benchmark:
        "<benchmarks>/download/{download}.tsv"
    conda:
        "../envs/pipeline.yaml"
    params:
        digest=lambda wildcards: RUN.downloads[wildcards.download].digest,
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/download.py" --name {wildcards.download}'
        ' --work "$SELFLONG_WORK/downloads/{wildcards.download}" --output {output} > {log} 2>&1'
