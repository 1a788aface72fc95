# From documents to embeddings and an index, and from instructions to the documents that fill each sample.


rule embed_documents:
    input:
        lambda wildcards: INPUTS.weights_files(
            RUN.recipe.encoders[wildcards.encoder].weights
        ),
        documents=RESULTS.documents("{corpus}", "{shard}"),
        weights=lambda wildcards: INPUTS.encoder_weights(wildcards.encoder),
    output:
        output=directory(RESULTS.embeddings("{encoder}", "{corpus}", "{shard}")),
    log:
        "<logs>/retrieval/{encoder}/{corpus}/embed/{shard}.log",
    benchmark:
        "<benchmarks>/retrieval/{encoder}/{corpus}/embed/{shard}.tsv"
    conda:
        "../envs/serving.yaml"
    threads: JOBS.threads("encoding")
    resources:
        **JOBS.resources("encoding"),
    params:
        digest=lambda wildcards: DIGESTS.encoder(wildcards.encoder),
        options=options(
            encoder="{encoder}",
            work=JOBS.work / "retrieval/{encoder}/{corpus}/{shard}",
        ),
    shell:
        'exec "$ENCODING_PYTHON" "$SELFLONG/scripts/embed_documents.py" {params.options} > {log:q} 2>&1'


rule build_index:
    input:
        shards=lambda wildcards: INPUTS.embeddings(wildcards.encoder, wildcards.corpus),
    output:
        output=directory(RESULTS.index("{encoder}", "{corpus}")),
    log:
        "<logs>/retrieval/{encoder}/{corpus}/index.log",
    benchmark:
        "<benchmarks>/retrieval/{encoder}/{corpus}/index.tsv"
    conda:
        "../envs/pipeline.yaml"
    resources:
        **JOBS.resources("pipeline"),
    params:
        digest=lambda wildcards: DIGESTS.encoder(wildcards.encoder),
        options=options(
            encoder="{encoder}", work=JOBS.work / "retrieval/{encoder}/{corpus}/index"
        ),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/build_index.py" {params.options} > {log:q} 2>&1'


rule retrieve:
    input:
        lambda wildcards: INPUTS.weights_files(
            RUN.recipe.encoders[RUN.recipe.synthesis.needed_encoder].weights
        ),
        instructions=RESULTS.instructions("{generator}", "{shard}"),
        index=lambda wildcards: INPUTS.synthesis_index(),
        token_counts=lambda wildcards: INPUTS.synthesis_token_counts(),
        weights=lambda wildcards: INPUTS.synthesis_encoder_weights(),
    output:
        output=RESULTS.retrieved("{generator}", "{shard}"),
    log:
        "<logs>/synthesis/{generator}/retrieve/{shard}.log",
    benchmark:
        "<benchmarks>/synthesis/{generator}/retrieve/{shard}.tsv"
    conda:
        "../envs/serving.yaml"
    threads: JOBS.threads("encoding")
    resources:
        **JOBS.resources("encoding"),
    params:
        digest=lambda wildcards: DIGESTS.retrieval(),
        options=options(),
    shell:
        'exec "$ENCODING_PYTHON" "$SELFLONG/scripts/retrieve.py" {params.options} > {log:q} 2>&1'


rule measure_retrieval:
    input:
        lambda wildcards: INPUTS.embeddings(wildcards.encoder, wildcards.corpus),
        index=RESULTS.index("{encoder}", "{corpus}"),
    output:
        output=RESULTS.retrieval_quality("{encoder}", "{corpus}"),
    log:
        "<logs>/retrieval/{encoder}/{corpus}/quality.log",
    benchmark:
        "<benchmarks>/retrieval/{encoder}/{corpus}/quality.tsv"
    conda:
        "../envs/pipeline.yaml"
    resources:
        **JOBS.resources("pipeline"),
    params:
        digest=lambda wildcards: DIGESTS.encoder(wildcards.encoder),
        options=options(),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/measure_retrieval.py" {params.options} > {log:q} 2>&1'
