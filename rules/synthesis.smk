# From documents to long samples: instructions, recursive summaries, answers; and back-translation.


rule write_instructions:
    input:
        documents=lambda wildcards: INPUTS.synthesis_documents(),
        token_counts=lambda wildcards: INPUTS.synthesis_token_counts(),
        target=lambda wildcards: INPUTS.target_tokenizer(),
        counter=lambda wildcards: INPUTS.generator_tokenizer(wildcards.generator),
        weights=lambda wildcards: INPUTS.generator_weights(wildcards.generator),
    output:
        instructions=RESULTS.instructions("{generator}", "{shard}"),
        drops=RESULTS.synthesis_drops("{generator}", "instructions", "{shard}"),
        usage=RESULTS.usage("{generator}", "instructions", "{shard}"),
    log:
        "<logs>/synthesis/{generator}/instructions/{shard}.log",
    benchmark:
        "<benchmarks>/synthesis/{generator}/instructions/{shard}.tsv"
    conda:
        "../envs/serving.yaml"
    threads: lambda wildcards: JOBS.generator_threads(wildcards.generator)
    resources:
        **JOBS.resources("synthesis"),
    params:
        digest=lambda wildcards: DIGESTS.synthesis(wildcards.generator, "long_input"),
    shell:
        'exec "$SYNTHESIS_PYTHON" "$SELFLONG/scripts/write_instructions.py"'
        " --generator {wildcards.generator} --shard {wildcards.shard} --digest {params.digest}"
        " --target {input.target} --counter {input.counter} --weights {input.weights}"
        " --server-log {log}.server"
        " --documents {input.documents} --token-counts {input.token_counts}"
        ' --work "$SELFLONG_WORK/synthesis/{wildcards.generator}" --instructions {output.instructions}'
        " --drops {output.drops} --usage {output.usage} > {log} 2>&1"


rule answer_instructions:
    input:
        instructions=RESULTS.instructions("{generator}", "{shard}"),
        earlier=lambda wildcards: INPUTS.earlier_instructions(
            wildcards.generator, wildcards.shard
        ),
        retrieved=RESULTS.retrieved("{generator}", "{shard}"),
        documents=lambda wildcards: INPUTS.synthesis_documents(),
        target=lambda wildcards: INPUTS.target_tokenizer(),
        counter=lambda wildcards: INPUTS.generator_tokenizer(wildcards.generator),
        weights=lambda wildcards: INPUTS.generator_weights(wildcards.generator),
    output:
        samples=RESULTS.samples("{generator}", "long_input", "{shard}"),
        summaries=RESULTS.summaries("{generator}", "{shard}"),
        drops=RESULTS.synthesis_drops("{generator}", "long_input", "{shard}"),
        usage=RESULTS.usage("{generator}", "long_input", "{shard}"),
    log:
        "<logs>/synthesis/{generator}/long_input/{shard}.log",
    benchmark:
        "<benchmarks>/synthesis/{generator}/long_input/{shard}.tsv"
    conda:
        "../envs/serving.yaml"
    threads: lambda wildcards: JOBS.generator_threads(wildcards.generator)
    resources:
        **JOBS.resources("synthesis"),
    params:
        digest=lambda wildcards: DIGESTS.synthesis(wildcards.generator, "long_input"),
    shell:
        'exec "$SYNTHESIS_PYTHON" "$SELFLONG/scripts/answer_instructions.py"'
        " --generator {wildcards.generator} --shard {wildcards.shard} --digest {params.digest}"
        " --target {input.target} --counter {input.counter} --weights {input.weights}"
        " --server-log {log}.server"
        " --instructions {input.instructions} --earlier {input.earlier}"
        " --retrieved {input.retrieved}"
        " --documents {input.documents}"
        ' --work "$SELFLONG_WORK/synthesis/{wildcards.generator}" --samples {output.samples}'
        " --summaries {output.summaries} --drops {output.drops} --usage {output.usage}"
        " > {log} 2>&1"


rule backtranslate:
    input:
        documents=lambda wildcards: INPUTS.synthesis_documents(),
        token_counts=lambda wildcards: INPUTS.synthesis_token_counts(),
        target=lambda wildcards: INPUTS.target_tokenizer(),
        counter=lambda wildcards: INPUTS.generator_tokenizer(wildcards.generator),
        weights=lambda wildcards: INPUTS.generator_weights(wildcards.generator),
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
    shell:
        'exec "$SYNTHESIS_PYTHON" "$SELFLONG/scripts/backtranslate.py"'
        " --generator {wildcards.generator} --shard {wildcards.shard} --digest {params.digest}"
        " --target {input.target} --counter {input.counter} --weights {input.weights}"
        " --server-log {log}.server"
        " --documents {input.documents} --token-counts {input.token_counts}"
        ' --work "$SELFLONG_WORK/synthesis/{wildcards.generator}" --samples {output.samples}'
        " --drops {output.drops} --usage {output.usage} > {log} 2>&1"
