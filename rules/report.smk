# From scores, accounts and metrics to tables, figures, one page and the manifest. On a cluster the last steps
# are one job: each is shorter than a wait in the queue.


rule tables:
    input:
        INPUTS.report(),
    output:
        output=report(
            directory(RESULTS.tables),
            patterns=["{name}.csv"],
            caption="captions/tables.rst",
            category="Tables",
        ),
    log:
        "<logs>/report/tables.log",
    benchmark:
        "<benchmarks>/report/tables.tsv"
    group:
        "report"
    conda:
        "../envs/pipeline.yaml"
    resources:
        **JOBS.resources("pipeline"),
    params:
        digest=DIGESTS.report(),
        options=options(),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/write_tables.py" {params.options} > {log:q} 2>&1'


rule figures:
    input:
        INPUTS.report(),
    output:
        output=report(
            directory(RESULTS.figures),
            patterns=["{name}.png"],
            caption="captions/figures.rst",
            category="Figures",
        ),
    log:
        "<logs>/report/figures.log",
    benchmark:
        "<benchmarks>/report/figures.tsv"
    group:
        "report"
    conda:
        "../envs/pipeline.yaml"
    resources:
        **JOBS.resources("pipeline"),
    params:
        digest=DIGESTS.report(),
        options=options(),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/draw_figures.py" {params.options} > {log:q} 2>&1'


rule workflow_figure:
    output:
        directory(RESULTS.workflow_figure),
    log:
        "<logs>/report/workflow.log",
    benchmark:
        "<benchmarks>/report/workflow.tsv"
    conda:
        "../envs/pipeline.yaml"
    resources:
        **JOBS.resources("pipeline"),
    shell:
        '("$PIPELINE_PYTHON" -m snakemake --snakefile "$SELFLONG/Snakefile" --rulegraph dot'
        ' --configfile "$SELFLONG_SITE" --cores 1 --nolock'
        ' | "$PIPELINE_PYTHON" "$SELFLONG/scripts/draw_workflow.py"'
        ' --rules "$SELFLONG/rules" --output {output:q}) 2> {log:q}'


rule report:
    input:
        tables=RESULTS.tables,
        figures=RESULTS.figures,
        workflow=RESULTS.workflow_figure,
    output:
        output=RESULTS.page,
        summary=RESULTS.summary,
        times=RESULTS.times,
    log:
        "<logs>/report/page.log",
    benchmark:
        "<benchmarks>/report/page.tsv"
    group:
        "report"
    conda:
        "../envs/pipeline.yaml"
    resources:
        **JOBS.resources("pipeline"),
    params:
        digest=DIGESTS.report(),
        options=options(),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/write_page.py" {params.options} > {log:q} 2>&1'


rule manifest:
    input:
        RESULTS.tables,
        RESULTS.figures,
        RESULTS.page,
        INPUTS.machine(),
    output:
        manifest=RESULTS.manifest,
        crate=RESULTS.crate,
    log:
        "<logs>/report/manifest.log",
    benchmark:
        "<benchmarks>/report/manifest.tsv"
    group:
        "report"
    conda:
        "../envs/pipeline.yaml"
    resources:
        **JOBS.resources("pipeline"),
    params:
        digest=DIGESTS.report(),
        options=options(),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/write_manifest.py" {params.options} > {log:q} 2>&1'
