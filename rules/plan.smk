# Before anything runs: what a recipe costs on this site and whether it fits (`snakemake plan`), and what the
# nodes lack that its jobs will run on (`snakemake check`). Afterwards: whether every file is as it was made
# (`snakemake verify`).


localrules:
    plan,
    check,
    verify,


rule plan:
    output:
        output=directory(RESULTS.plan),
    log:
        "<logs>/plan.log",
    benchmark:
        "<benchmarks>/plan.tsv"
    conda:
        "../envs/pipeline.yaml"
    params:
        digest=DIGESTS.plan(),
        options=options(),
    shell:
        '"$PIPELINE_PYTHON" "$SELFLONG/scripts/write_plan.py" {params.options} 2> {log:q}'


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
            '{params.start} -m selflong.node_check {params.kind} --site "$SELFLONG_SITE" --report'
            " > {output:q} 2> {log:q}"


rule check:
    input:
        [RESULTS.check(kind) for kind in JOB_KINDS],
    log:
        "<logs>/check/all.log",
    retries: 0
    conda:
        "../envs/pipeline.yaml"
    shell:
        "cat {input:q} | tee {log:q}; if grep -q '^missing' {log:q}; then rm -f {input:q}; exit 1; fi"


rule verify:
    log:
        "<logs>/verify.log",
    retries: 0
    conda:
        "../envs/pipeline.yaml"
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/verify.py" > >(tee {log:q} >&2) 2>&1'
