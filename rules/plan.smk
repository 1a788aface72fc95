# What a recipe costs on this site, and whether it fits, before anything runs: `snakemake plan`.


localrules:
    plan,


rule plan:
    output:
        directory("<results>/plan"),
    log:
        "<logs>/plan.log",
    benchmark:
        "<benchmarks>/plan.tsv"
    conda:
        "../envs/pipeline.yaml"
    params:
        digest=RUN.digest("plan", RUN.recipe, RUN.site),
    shell:
        '"$PIPELINE_PYTHON" "$SELFLONG/scripts/write_plan.py" --output {output} 2> {log}'
