# Before anything runs: what a recipe costs on this site and whether it fits (`snakemake plan`), and what the
# nodes lack that its jobs will run on (`snakemake check`).


localrules:
    plan,
    check,


rule plan:
    output:
        directory(RESULTS.plan),
    log:
        "<logs>/plan.log",
    benchmark:
        "<benchmarks>/plan.tsv"
    conda:
        "../envs/pipeline.yaml"
    params:
        digest=DIGESTS.of("plan", RUN.recipe, RUN.site),
    shell:
        '"$PIPELINE_PYTHON" "$SELFLONG/scripts/write_plan.py" --output {output} 2> {log}'


ENVIRONMENTS = {kind: kind for kind in JOB_KINDS} | {
    "encoding": "serving",
    "synthesis": "serving",
}


# A job of each kind, with what its kind asks for, on as many nodes.
for kind in JOB_KINDS:

    rule:
        name:
            f"check_{kind}"
        output:
            temp(RESULTS.check(kind)),
        log:
            f"<logs>/check/{kind}.log",
        benchmark:
            f"<benchmarks>/check/{kind}.tsv"
        retries: 0
        conda:
            f"../envs/{ENVIRONMENTS[kind]}.yaml"
        resources:
            **JOBS.resources(kind),
        params:
            kind=kind,
            start=f'${kind.upper()}_LAUNCH "${kind.upper()}_PYTHON"',
        shell:
            '{params.start} -m selflong.check {params.kind} --site "$SELFLONG_SITE" --report'
            " > {output} 2> {log}"


rule check:
    input:
        [RESULTS.check(kind) for kind in JOB_KINDS],
    log:
        "<logs>/check/all.log",
    retries: 0
    conda:
        "../envs/pipeline.yaml"
    shell:
        "cat {input} | tee {log}; if grep -q '^missing' {log}; then rm -f {input}; exit 1; fi"
