# From sources to the documents of retrieval and of long outputs, in shards.


localrules:
    collect_source,


rule collect_source:
    output:
        directory("<results>/corpus/{corpus}/sources/{source}"),
    log:
        "<logs>/corpus/{corpus}/collect/{source}.log",
    benchmark:
        "<benchmarks>/corpus/{corpus}/collect/{source}.tsv"
    conda:
        "../envs/pipeline.yaml"
    params:
        digest=lambda wildcards: RUN.digest(
            "corpus",
            RUN.recipe.corpora[wildcards.corpus].sources[int(wildcards.source)],
        ),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/collect_source.py"'
        " --corpus {wildcards.corpus} --source {wildcards.source} --output {output}"
        ' --work "$SELFLONG_WORK/corpus/{wildcards.corpus}/{wildcards.source}"'
        " > {log} 2>&1"


rule scan_documents:
    input:
        sources=lambda wildcards: RUN.sources(wildcards.corpus),
        tokenizer=lambda wildcards: RUN.target_tokenizer(),
        evaluation_texts="<results>/evaluation/texts.parquet",
    output:
        notes="<results>/corpus/{corpus}/notes/{shard}.parquet",
        overlaps="<results>/corpus/{corpus}/overlaps/{shard}.parquet",
    log:
        "<logs>/corpus/{corpus}/scan/{shard}.log",
    benchmark:
        "<benchmarks>/corpus/{corpus}/scan/{shard}.tsv"
    conda:
        "../envs/pipeline.yaml"
    resources:
        **RUN.resources("pipeline"),
    params:
        digest=lambda wildcards: RUN.digest(
            "corpus", RUN.recipe.corpora[wildcards.corpus]
        ),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/scan_documents.py"'
        " --corpus {wildcards.corpus} --shard {wildcards.shard} --sources {input.sources}"
        " --tokenizer {input.tokenizer} --evaluation-texts {input.evaluation_texts}"
        " --notes {output.notes} --overlaps {output.overlaps} > {log} 2>&1"


rule select_documents:
    input:
        notes=lambda wildcards: expand(
            "<results>/corpus/{corpus}/notes/{shard}.parquet",
            corpus=wildcards.corpus,
            shard=RUN.corpus_shards(wildcards.corpus),
        ),
    output:
        selection=directory("<results>/corpus/{corpus}/selection"),
        drops="<results>/corpus/{corpus}/drops.parquet",
    log:
        "<logs>/corpus/{corpus}/select.log",
    benchmark:
        "<benchmarks>/corpus/{corpus}/select.tsv"
    conda:
        "../envs/pipeline.yaml"
    resources:
        **RUN.resources("pipeline"),
    params:
        digest=lambda wildcards: RUN.digest(
            "corpus", RUN.recipe.corpora[wildcards.corpus]
        ),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/select_documents.py"'
        " --corpus {wildcards.corpus} --notes {input.notes}"
        " --selection {output.selection} --drops {output.drops} > {log} 2>&1"


rule write_documents:
    input:
        sources=lambda wildcards: RUN.sources(wildcards.corpus),
        selection="<results>/corpus/{corpus}/selection",
    output:
        documents="<results>/corpus/{corpus}/documents/{shard}.parquet",
        token_counts="<results>/corpus/{corpus}/token_counts/{shard}.parquet",
    log:
        "<logs>/corpus/{corpus}/write/{shard}.log",
    benchmark:
        "<benchmarks>/corpus/{corpus}/write/{shard}.tsv"
    conda:
        "../envs/pipeline.yaml"
    resources:
        **RUN.resources("pipeline"),
    params:
        digest=lambda wildcards: RUN.digest(
            "corpus", RUN.recipe.corpora[wildcards.corpus]
        ),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/write_documents.py"'
        " --corpus {wildcards.corpus} --shard {wildcards.shard} --sources {input.sources}"
        " --selection {input.selection} --documents {output.documents}"
        " --token-counts {output.token_counts} > {log} 2>&1"
