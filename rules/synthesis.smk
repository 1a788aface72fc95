# From documents to long samples: instructions, recursive summaries, answers; back-translation; questions on single
# documents and summaries of them; questions over two.


rule write_instructions:
    input:
        lambda wildcards: INPUTS.weights_files(
            RUN.recipe.generators[wildcards.generator].weights
        ),
        documents=lambda wildcards: INPUTS.synthesis_documents(),
        token_counts=lambda wildcards: INPUTS.synthesis_token_counts(),
        target=lambda wildcards: INPUTS.target_tokenizer(),
        counter=lambda wildcards: INPUTS.generator_tokenizer(wildcards.generator),
        download=lambda wildcards: INPUTS.generator_weights(wildcards.generator),
    output:
        instructions=RESULTS.instructions("{generator}", "{shard}"),
        drops=RESULTS.synthesis_drops("{generator}", "instructions", "{shard}"),
        usage=RESULTS.usage("{generator}", "instructions", "{shard}"),
    log:
        "<logs>/synthesis/{generator}/instructions/{shard}.log",
    benchmark:
        "<benchmarks>/synthesis/{generator}/instructions/{shard}.tsv"
    # On the longest chain of a run.
    priority: 1
    conda:
        "../envs/serving.yaml"
    threads: lambda wildcards: JOBS.generator_threads(wildcards.generator)
    resources:
        **JOBS.resources("synthesis"),
    params:
        digest=lambda wildcards: DIGESTS.synthesis(wildcards.generator, "long_input"),
        options=options(
            generator_name="{generator}",
            shard="{shard}",
            work=JOBS.work / "synthesis/{generator}",
        ),
    shell:
        'exec "$SYNTHESIS_PYTHON" "$SELFLONG/scripts/write_instructions.py" {params.options}'
        " --digest {params.digest} --log {log:q}.server > {log:q} 2>&1"


rule answer_instructions:
    input:
        lambda wildcards: INPUTS.weights_files(
            RUN.recipe.generators[wildcards.generator].weights
        ),
        instructions=RESULTS.instructions("{generator}", "{shard}"),
        earlier=lambda wildcards: INPUTS.earlier_instructions(
            wildcards.generator, wildcards.shard
        ),
        retrieved=RESULTS.retrieved("{generator}", "{shard}"),
        documents=lambda wildcards: INPUTS.synthesis_documents(),
        target=lambda wildcards: INPUTS.target_tokenizer(),
        counter=lambda wildcards: INPUTS.generator_tokenizer(wildcards.generator),
        download=lambda wildcards: INPUTS.generator_weights(wildcards.generator),
    output:
        samples=RESULTS.samples("{generator}", "long_input", "{shard}"),
        summaries=RESULTS.summaries("{generator}", "{shard}"),
        answers=RESULTS.answers("{generator}", "{shard}"),
        drops=RESULTS.synthesis_drops("{generator}", "long_input", "{shard}"),
        usage=RESULTS.usage("{generator}", "long_input", "{shard}"),
    log:
        "<logs>/synthesis/{generator}/long_input/{shard}.log",
    benchmark:
        "<benchmarks>/synthesis/{generator}/long_input/{shard}.tsv"
    # On the longest chain of a run.
    priority: 1
    conda:
        "../envs/serving.yaml"
    threads: lambda wildcards: JOBS.generator_threads(wildcards.generator)
    resources:
        **JOBS.resources("synthesis"),
    params:
        digest=lambda wildcards: DIGESTS.synthesis(wildcards.generator, "long_input"),
        options=options(
            generator_name="{generator}", work=JOBS.work / "synthesis/{generator}"
        ),
    shell:
        'exec "$SYNTHESIS_PYTHON" "$SELFLONG/scripts/answer_instructions.py" {params.options}'
        " --digest {params.digest} --log {log:q}.server > {log:q} 2>&1"


rule backtranslate:
    input:
        lambda wildcards: INPUTS.weights_files(
            RUN.recipe.generators[wildcards.generator].weights
        ),
        documents=lambda wildcards: INPUTS.synthesis_documents(),
        token_counts=lambda wildcards: INPUTS.synthesis_token_counts(),
        target=lambda wildcards: INPUTS.target_tokenizer(),
        counter=lambda wildcards: INPUTS.generator_tokenizer(wildcards.generator),
        download=lambda wildcards: INPUTS.generator_weights(wildcards.generator),
    output:
        samples=RESULTS.samples("{generator}", "long_output", "{shard}"),
        drops=RESULTS.synthesis_drops("{generator}", "long_output", "{shard}"),
        usage=RESULTS.usage("{generator}", "long_output", "{shard}"),
    log:
        "<logs>/synthesis/{generator}/long_output/{shard}.log",
    benchmark:
        "<benchmarks>/synthesis/{generator}/long_output/{shard}.tsv"
    conda:
        "../envs/serving.yaml"
    threads: lambda wildcards: JOBS.generator_threads(wildcards.generator)
    resources:
        **JOBS.resources("synthesis"),
    params:
        digest=lambda wildcards: DIGESTS.synthesis(wildcards.generator, "long_output"),
        options=options(
            generator_name="{generator}",
            shard="{shard}",
            work=JOBS.work / "synthesis/{generator}",
        ),
    shell:
        'exec "$SYNTHESIS_PYTHON" "$SELFLONG/scripts/backtranslate.py" {params.options}'
        " --digest {params.digest} --log {log:q}.server > {log:q} 2>&1"


rule write_document_tasks:
    input:
        lambda wildcards: INPUTS.weights_files(
            RUN.recipe.generators[wildcards.generator].weights
        ),
        documents=lambda wildcards: INPUTS.synthesis_documents(),
        token_counts=lambda wildcards: INPUTS.synthesis_token_counts(),
        target=lambda wildcards: INPUTS.target_tokenizer(),
        counter=lambda wildcards: INPUTS.generator_tokenizer(wildcards.generator),
        download=lambda wildcards: INPUTS.generator_weights(wildcards.generator),
    output:
        samples=RESULTS.samples("{generator}", "document_tasks", "{shard}"),
        drops=RESULTS.synthesis_drops("{generator}", "document_tasks", "{shard}"),
        usage=RESULTS.usage("{generator}", "document_tasks", "{shard}"),
    log:
        "<logs>/synthesis/{generator}/document_tasks/{shard}.log",
    benchmark:
        "<benchmarks>/synthesis/{generator}/document_tasks/{shard}.tsv"
    conda:
        "../envs/serving.yaml"
    threads: lambda wildcards: JOBS.generator_threads(wildcards.generator)
    resources:
        **JOBS.resources("synthesis"),
    params:
        digest=lambda wildcards: DIGESTS.synthesis(
            wildcards.generator, "document_tasks"
        ),
        options=options(
            generator_name="{generator}",
            shard="{shard}",
            work=JOBS.work / "synthesis/{generator}",
        ),
    shell:
        'exec "$SYNTHESIS_PYTHON" "$SELFLONG/scripts/write_document_tasks.py" {params.options}'
        " --digest {params.digest} --log {log:q}.server > {log:q} 2>&1"


rule write_multi_hop:
    input:
        lambda wildcards: INPUTS.weights_files(
            RUN.recipe.generators[wildcards.generator].weights
        ),
        documents=lambda wildcards: INPUTS.synthesis_documents(),
        token_counts=lambda wildcards: INPUTS.synthesis_token_counts(),
        target=lambda wildcards: INPUTS.target_tokenizer(),
        counter=lambda wildcards: INPUTS.generator_tokenizer(wildcards.generator),
        download=lambda wildcards: INPUTS.generator_weights(wildcards.generator),
    output:
        samples=RESULTS.samples("{generator}", "multi_hop", "{shard}"),
        hops=RESULTS.hops("{generator}", "{shard}"),
        drops=RESULTS.synthesis_drops("{generator}", "multi_hop", "{shard}"),
        usage=RESULTS.usage("{generator}", "multi_hop", "{shard}"),
    log:
        "<logs>/synthesis/{generator}/multi_hop/{shard}.log",
    benchmark:
        "<benchmarks>/synthesis/{generator}/multi_hop/{shard}.tsv"
    conda:
        "../envs/serving.yaml"
    threads: lambda wildcards: JOBS.generator_threads(wildcards.generator)
    resources:
        **JOBS.resources("synthesis"),
    params:
        digest=lambda wildcards: DIGESTS.synthesis(wildcards.generator, "multi_hop"),
        options=options(
            generator_name="{generator}",
            shard="{shard}",
            work=JOBS.work / "synthesis/{generator}",
        ),
    shell:
        'exec "$SYNTHESIS_PYTHON" "$SELFLONG/scripts/write_multi_hop.py" {params.options}'
        " --digest {params.digest} --log {log:q}.server > {log:q} 2>&1"
