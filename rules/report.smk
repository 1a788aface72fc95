# From scores, accounts and metrics to tables, figures, one page and the manifest. On a cluster the last steps
# are one job: each is shorter than a wait in the queue.


rule tables:
    input:
        **RUN.report_inputs(),
    output:
        report(
            directory("<results>/tables"),
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
        **RUN.resources("pipeline"),
    params:
        digest=RUN.report_digest(),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/write_tables.py" --output {output}'
        " > {log} 2>&1"


rule figures:
    input:
        **RUN.report_inputs(),
    output:
        report(
            directory("<results>/figures"),
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
        **RUN.resources("pipeline"),
    params:
        digest=RUN.report_digest(),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/draw_figures.py" --output {output}'
        " > {log} 2>&1"


rule workflow_figure:
    output:
        directory("<results>/report/workflow"),
    log:
        "<logs>/report/workflow.log",
    benchmark:
        "<benchmarks>/report/workflow.tsv"
    conda:
        "../envs/pipeline.yaml"
    resources:
        **RUN.resources("pipeline"),
    shell:
        '("$PIPELINE_PYTHON" -m snakemake --snakefile "$SELFLONG/Snakefile" --rulegraph dot'
        ' --configfile "$SELFLONG_SITE" --cores 1 --nolock'
        ' | "$PIPELINE_PYTHON" "$SELFLONG/scripts/draw_workflow.py"'
        ' --rules "$SELFLONG/rules" --output {output}) 2> {log}'


rule report:
    input:
        tables="<results>/tables",
        figures="<results>/figures",
        workflow="<results>/report/workflow",
    output:
        "<results>/report/report.html",
    log:
        "<logs>/report/page.log",
    benchmark:
        "<benchmarks>/report/page.tsv"
    group:
        "report"
    conda:
        "../envs/pipeline.yaml"
    resources:
        **RUN.resources("pipeline"),
    params:
        digest=RUN.report_digest(),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/write_page.py" --tables {input.tables}'
        " --figures {input.figures} --workflow {input.workflow} --output {output} > {log} 2>&1"


rule manifest:
    input:
        tables="<results>/tables",
        figures="<results>/figures",
        page="<results>/report/report.html",
        machine=RUN.machines(),
    output:
        manifest="<results>/manifest.json",
        crate="<results>/ro-crate-metadata.json",
    log:
        "<logs>/report/manifest.log",
    benchmark:
        "<benchmarks>/report/manifest.tsv"
    group:
        "report"
    conda:
        "../envs/pipeline.yaml"
    resources:
        **RUN.resources("pipeline"),
    params:
        digest=RUN.report_digest(),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/write_manifest.py"'
        " --manifest {output.manifest} --crate {output.crate} > {log} 2>&1"
