# From documents to embeddings and an index, and from instructions to the documents that fill each sample.


rule embed_documents:
    input:
        documents=RESULTS.documents("{corpus}", "{shard}"),
        weights=lambda wildcards: INPUTS.encoder_weights(wildcards.encoder),
    output:
        directory(RESULTS.embeddings("{encoder}", "{corpus}", "{shard}")),
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
    shell:
        'exec "$ENCODING_PYTHON" "$SELFLONG/scripts/embed_documents.py"'
        " --encoder {wildcards.encoder} --documents {input.documents} --weights {input.weights}"
        " --output {output}"
        ' --work "$SELFLONG_WORK/retrieval/{wildcards.encoder}/{wildcards.corpus}/{wildcards.shard}"'
        " > {log} 2>&1"


rule build_index:
    input:
        lambda wildcards: INPUTS.embeddings(wildcards.encoder, wildcards.corpus),
    output:
        directory(RESULTS.index("{encoder}", "{corpus}")),
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
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/build_index.py"'
        " --encoder {wildcards.encoder} --embeddings {input} --output {output}"
        ' --work "$SELFLONG_WORK/retrieval/{wildcards.encoder}/{wildcards.corpus}/index"'
        " > {log} 2>&1"


rule retrieve:
    input:
        instructions=RESULTS.instructions("{generator}", "{shard}"),
        index=lambda wildcards: INPUTS.synthesis_index(),
        token_counts=lambda wildcards: INPUTS.synthesis_token_counts(),
        weights=lambda wildcards: INPUTS.synthesis_encoder_weights(),
    output:
        RESULTS.retrieved("{generator}", "{shard}"),
    log:
        "<logs>/synthesis/{generator}/retrieve/{shard}.log",
    benchmark:
        "<benchmarks>/synthesis/{generator}/retrieve/{shard}.tsv"
    conda:
        "../envs/pipeline.yaml"
    threads: JOBS.threads("encoding")
    resources:
        **JOBS.resources("encoding"),
    params:
        digest=lambda wildcards: DIGESTS.retrieval(),
    shell:
        'exec "$ENCODING_PYTHON" "$SELFLONG/scripts/retrieve.py"'
        " --instructions {input.instructions} --index {input.index}"
        " --token-counts {input.token_counts} --weights {input.weights} --output {output}"
        " > {log} 2>&1"


rule measure_retrieval:
    input:
        index=RESULTS.index("{encoder}", "{corpus}"),
        embeddings=lambda wildcards: INPUTS.embeddings(
            wildcards.encoder, wildcards.corpus
        ),
    output:
        RESULTS.retrieval_quality("{encoder}", "{corpus}"),
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
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/measure_retrieval.py"'
        " --index {input.index} --output {output} > {log} 2>&1"
