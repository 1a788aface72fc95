# From documents to embeddings and an index, and from instructions to the documents that fill each sample.


rule embed_documents:
    input:
        documents="<results>/corpus/{corpus}/documents/{shard}.parquet",
        weights=lambda wildcards: RUN.files_of(
            RUN.recipe.encoders[wildcards.encoder].weights
        ),
    output:
        directory("<results>/retrieval/{encoder}/{corpus}/embeddings/{shard}"),
    log:
        "<logs>/retrieval/{encoder}/{corpus}/embed/{shard}.log",
    benchmark:
        "<benchmarks>/retrieval/{encoder}/{corpus}/embed/{shard}.tsv"
    conda:
        "../envs/serving.yaml"
    threads: RUN.threads("encoding")
    resources:
        **RUN.resources("encoding"),
    params:
        digest=lambda wildcards: RUN.digest(
            "retrieval", RUN.recipe.encoders[wildcards.encoder]
        ),
    shell:
        'exec "$ENCODING_PYTHON" "$SELFLONG/scripts/embed_documents.py"'
        " --encoder {wildcards.encoder} --documents {input.documents} --weights {input.weights}"
        " --output {output}"
        ' --work "$SELFLONG_WORK/retrieval/{wildcards.encoder}/{wildcards.corpus}/{wildcards.shard}"'
        " > {log} 2>&1"


rule build_index:
    input:
        lambda wildcards: expand(
            "<results>/retrieval/{encoder}/{corpus}/embeddings/{shard}",
            encoder=wildcards.encoder,
            corpus=wildcards.corpus,
            shard=RUN.corpus_shards(wildcards.corpus),
        ),
    output:
        directory("<results>/retrieval/{encoder}/{corpus}/index"),
    log:
        "<logs>/retrieval/{encoder}/{corpus}/index.log",
    benchmark:
        "<benchmarks>/retrieval/{encoder}/{corpus}/index.tsv"
    conda:
        "../envs/pipeline.yaml"
    resources:
        **RUN.resources("pipeline"),
    params:
        digest=lambda wildcards: RUN.digest(
            "retrieval", RUN.recipe.encoders[wildcards.encoder]
        ),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/build_index.py"'
        " --encoder {wildcards.encoder} --embeddings {input} --output {output}"
        ' --work "$SELFLONG_WORK/retrieval/{wildcards.encoder}/{wildcards.corpus}/index"'
        " > {log} 2>&1"


rule retrieve:
    input:
        instructions="<results>/synthesis/{generator}/instructions/{shard}.parquet",
        index=lambda wildcards: RUN.synthesis_index(),
        token_counts=lambda wildcards: RUN.synthesis_files("token_counts"),
        weights=lambda wildcards: RUN.encoder_weights(),
    output:
        "<results>/synthesis/{generator}/retrieved/{shard}.parquet",
    log:
        "<logs>/synthesis/{generator}/retrieve/{shard}.log",
    benchmark:
        "<benchmarks>/synthesis/{generator}/retrieve/{shard}.tsv"
    conda:
        "../envs/serving.yaml"
    threads: RUN.threads("encoding")
    resources:
        **RUN.resources("encoding"),
    params:
        digest=lambda wildcards: RUN.retrieval_digest(),
    shell:
        'exec "$ENCODING_PYTHON" "$SELFLONG/scripts/retrieve.py"'
        " --instructions {input.instructions} --index {input.index}"
        " --token-counts {input.token_counts} --weights {input.weights} --output {output}"
        " > {log} 2>&1"


rule measure_retrieval:
    input:
        index="<results>/retrieval/{encoder}/{corpus}/index",
        embeddings=lambda wildcards: expand(
            "<results>/retrieval/{encoder}/{corpus}/embeddings/{shard}",
            encoder=wildcards.encoder,
            corpus=wildcards.corpus,
            shard=RUN.corpus_shards(wildcards.corpus),
        ),
    output:
        "<results>/retrieval/{encoder}/{corpus}/quality.json",
    log:
        "<logs>/retrieval/{encoder}/{corpus}/quality.log",
    benchmark:
        "<benchmarks>/retrieval/{encoder}/{corpus}/quality.tsv"
    conda:
        "../envs/pipeline.yaml"
    resources:
        **RUN.resources("pipeline"),
    params:
        digest=lambda wildcards: RUN.digest(
            "retrieval", RUN.recipe.encoders[wildcards.encoder]
        ),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/measure_retrieval.py"'
        " --index {input.index} --output {output} > {log} 2>&1"
