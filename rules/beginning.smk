# What the stages begin with: downloads, the weights and tokenizers of loaded models, the evaluation's own text.
# Compute nodes have no network, so downloads run where Snakemake runs.


localrules:
    download,


rule download:
    output:
        # Not removed before the job starts: another recipe may have brought it meanwhile.
        output=update(directory(download_folder(RUN.site, "{download}"))),
    log:
        "<logs>/download/{download}.log",
    benchmark:
        "<benchmarks>/download/{download}.tsv"
    conda:
        "../envs/pipeline.yaml"
    params:
        options=options(name="{download}", work=JOBS.work / "downloads/{download}"),
    shell:
        'exec "$PIPELINE_PYTHON" "$SELFLONG/scripts/download.py" {params.options} > {log:q} 2>&1'


rule load_model:
    input:
        lambda wildcards: INPUTS.weights_files(
            RUN.recipe.models[wildcards.model].weights
        ),
        download=lambda wildcards: INPUTS.model_weights(wildcards.model),
    output:
        output=directory(RESULTS.checkpoint("{model}/initial")),
    log:
        "<logs>/training/load/{model}.log",
    benchmark:
        "<benchmarks>/training/load/{model}.tsv"
    conda:
        "../envs/training.yaml"
    resources:
        **JOBS.resources("pipeline"),
    params:
        digest=lambda wildcards: DIGESTS.weights(wildcards.model),
        options=options(model="{model}"),
    shell:
        'exec "$TRAINING_PYTHON" "$SELFLONG/scripts/load_model.py" {params.options} > {log:q} 2>&1'


rule write_evaluation_texts:
    input:
        INPUTS.texts_files,
    output:
        output=RESULTS.evaluation_texts,
    log:
        "<logs>/evaluation/texts.log",
    benchmark:
        "<benchmarks>/evaluation/texts.tsv"
    conda:
        "../envs/evaluation.yaml"
    resources:
        **JOBS.resources("pipeline"),
    params:
        digest=DIGESTS.evaluation_texts(),
        options=options(),
    shell:
        'exec "$EVALUATION_PYTHON" "$SELFLONG/scripts/write_evaluation_texts.py" {params.options} > {log:q} 2>&1'
