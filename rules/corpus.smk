# From sources to the documents of retrieval and of long outputs, in shards.


localrules:
    collect_source,


rule collect_source:
    input:
        lambda wildcards: INPUTS.source_files(wildcards.corpus, wildcards.source),
    output:
        output=directory(RESULTS.source("{corpus}", "{source}")),
    log:
        "<logs>/corpus/{corpus}/collect/{source}.log",
    benchmark:
        "<benchmarks>/corpus/{corpus}/collect/{source}.tsv"
    conda:
        "../envs/pipeline.yaml"
    params:
        digest=lambda wildcards: DIGESTS.source(wildcards.corpus, wildcards.source),
        options=options(
            corpus="{corpus}",
            source="{source}",
            work=JOBS.work / "corpus/{corpus}/{source}",
        ),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/collect_source.py" {params.options} > {log:q} 2>&1'


rule scan_documents:
    input:
        sources=lambda wildcards: INPUTS.sources(wildcards.corpus),
        tokenizer=lambda wildcards: INPUTS.target_tokenizer(),
        evaluation_texts=RESULTS.evaluation_texts,
    output:
        notes=RESULTS.notes("{corpus}", "{shard}"),
        overlaps=RESULTS.overlaps("{corpus}", "{shard}"),
    log:
        "<logs>/corpus/{corpus}/scan/{shard}.log",
    benchmark:
        "<benchmarks>/corpus/{corpus}/scan/{shard}.tsv"
    conda:
        "../envs/pipeline.yaml"
    resources:
        **JOBS.resources("pipeline"),
    params:
        digest=lambda wildcards: DIGESTS.corpus(wildcards.corpus),
        options=options(corpus="{corpus}", part="{shard}"),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/scan_documents.py" {params.options} > {log:q} 2>&1'


rule select_documents:
    input:
        notes=lambda wildcards: INPUTS.notes(wildcards.corpus),
    output:
        selection=directory(RESULTS.selection("{corpus}")),
        drops=RESULTS.corpus_drops("{corpus}"),
    log:
        "<logs>/corpus/{corpus}/select.log",
    benchmark:
        "<benchmarks>/corpus/{corpus}/select.tsv"
    conda:
        "../envs/pipeline.yaml"
    resources:
        **JOBS.resources("pipeline"),
    params:
        digest=lambda wildcards: DIGESTS.corpus(wildcards.corpus),
        options=options(corpus="{corpus}"),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/select_documents.py" {params.options} > {log:q} 2>&1'


rule write_documents:
    input:
        sources=lambda wildcards: INPUTS.sources(wildcards.corpus),
        selection=RESULTS.selection("{corpus}"),
    output:
        documents=RESULTS.documents("{corpus}", "{shard}"),
        token_counts=RESULTS.token_counts("{corpus}", "{shard}"),
    log:
        "<logs>/corpus/{corpus}/write/{shard}.log",
    benchmark:
        "<benchmarks>/corpus/{corpus}/write/{shard}.tsv"
    conda:
        "../envs/pipeline.yaml"
    resources:
        **JOBS.resources("pipeline"),
    params:
        digest=lambda wildcards: DIGESTS.corpus(wildcards.corpus),
        options=options(corpus="{corpus}", part="{shard}"),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/write_documents.py" {params.options} > {log:q} 2>&1'
