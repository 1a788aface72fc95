# From documents to long samples: instructions, recursive summaries, answers; and back-translation.


rule write_instructions:
    input:
        documents=lambda wildcards: RUN.synthesis_files("documents"),
        token_counts=lambda wildcards: RUN.synthesis_files("token_counts"),
        target=lambda wildcards: RUN.target_tokenizer(),
        counter=lambda wildcards: RUN.generator_tokenizer(wildcards.generator),
        weights=lambda wildcards: RUN.files_of(
            RUN.recipe.generators[wildcards.generator].weights
        ),
    output:
        instructions="<results>/synthesis/{generator}/instructions/{shard}.parquet",
        drops="<results>/synthesis/{generator}/drops/instructions/{shard}.parquet",
        usage="<results>/synthesis/{generator}/usage/instructions/{shard}.json",
    log:
        "<logs>/synthesis/{generator}/instructions/{shard}.log",
    benchmark:
        "<benchmarks>/synthesis/{generator}/instructions/{shard}.tsv"
    conda:
        "../envs/serving.yaml"
    threads: lambda wildcards: RUN.generator_threads(wildcards.generator)
    resources:
        **RUN.resources("synthesis"),
    params:
        digest=lambda wildcards: RUN.synthesis_digest(wildcards.generator, "long_input"),
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
        instructions="<results>/synthesis/{generator}/instructions/{shard}.parquet",
        earlier=lambda wildcards: [
            f"{RUN.results}/synthesis/{wildcards.generator}/instructions/{shard}.parquet"
            for shard in range(int(wildcards.shard))
        ],
        retrieved="<results>/synthesis/{generator}/retrieved/{shard}.parquet",
        documents=lambda wildcards: RUN.synthesis_files("documents"),
        target=lambda wildcards: RUN.target_tokenizer(),
        counter=lambda wildcards: RUN.generator_tokenizer(wildcards.generator),
        weights=lambda wildcards: RUN.files_of(
            RUN.recipe.generators[wildcards.generator].weights
        ),
    output:
        samples="<results>/synthesis/{generator}/long_input/{shard}.parquet",
        summaries="<results>/synthesis/{generator}/summaries/{shard}.parquet",
        drops="<results>/synthesis/{generator}/drops/long_input/{shard}.parquet",
        usage="<results>/synthesis/{generator}/usage/long_input/{shard}.json",
    log:
        "<logs>/synthesis/{generator}/long_input/{shard}.log",
    benchmark:
        "<benchmarks>/synthesis/{generator}/long_input/{shard}.tsv"
    conda:
        "../envs/serving.yaml"
    threads: lambda wildcards: RUN.generator_threads(wildcards.generator)
    resources:
        **RUN.resources("synthesis"),
    params:
        digest=lambda wildcards: RUN.synthesis_digest(wildcards.generator, "long_input"),
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
        documents=lambda wildcards: RUN.synthesis_files("documents"),
        token_counts=lambda wildcards: RUN.synthesis_files("token_counts"),
        target=lambda wildcards: RUN.target_tokenizer(),
        counter=lambda wildcards: RUN.generator_tokenizer(wildcards.generator),
        weights=lambda wildcards: RUN.files_of(
            RUN.recipe.generators[wildcards.generator].weights
        ),
    output:
        samples="<results>/synthesis/{generator}/long_output/{shard}.parquet",
        drops="<results>/synthesis/{generator}/drops/long_output/{shard}.parquet",
        usage="<results>/synthesis/{generator}/usage/long_output/{shard}.json",
    log:
        "<logs>/synthesis/{generator}/long_output/{shard}.log",
    benchmark:
        "<benchmarks>/synthesis/{generator}/long_output/{shard}.tsv"
    conda:
        "../envs/serving.yaml"
    threads: lambda wildcards: RUN.generator_threads(wildcards.generator)
    resources:
        **RUN.resources("synthesis"),
    params:
        digest=lambda wildcards: RUN.synthesis_digest(
            wildcards.generator, "long_output"
        ),
    shell:
        'exec "$SYNTHESIS_PYTHON" "$SELFLONG/scripts/backtranslate.py"'
        " --generator {wildcards.generator} --shard {wildcards.shard} --digest {params.digest}"
        " --target {input.target} --counter {input.counter} --weights {input.weights}"
        " --server-log {log}.server"
        " --documents {input.documents} --token-counts {input.token_counts}"
        ' --work "$SELFLONG_WORK/synthesis/{wildcards.generator}" --samples {output.samples}'
        " --drops {output.drops} --usage {output.usage} > {log} 2>&1"
