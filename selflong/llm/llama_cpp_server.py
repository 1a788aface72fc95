"""llama.cpp's own server in this process (https://github.com/ggml-org/llama.cpp/tree/master/tools/server)."""

import argparse
import os
import signal

import xllamacpp

from selflong.llm.serve import API_KEY_VARIABLE
from selflong.llm.server_process import say_port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--context-tokens", type=int, required=True, help="of each slot")
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()

    settings = xllamacpp.CommonParams()
    settings.model.path = arguments.model
    settings.model_alias = {arguments.name}
    settings.port = 0  # the kernel chooses a free one
    settings.api_keys = [os.environ[API_KEY_VARIABLE]]
    settings.n_parallel = arguments.slots
    settings.n_ctx = arguments.slots * arguments.context_tokens
    settings.fit_params = False  # it would shrink the context to the memory that is free
    settings.cache_ram_mib = 0  # 8 GiB of old prompts otherwise
    settings.ui = False
    settings.verbosity = 2  # warnings and errors
    for cpu in (settings.cpuparams, settings.cpuparams_batch):
        cpu.n_threads = arguments.threads
    server = xllamacpp.Server(settings)
    say_port(int(server.listening_address.rpartition(":")[2]))
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
