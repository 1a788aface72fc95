"""One way to talk to any model: serve it, ask it, and never pay for an answer twice.

    from selflong.llm import Answer, Cache, Client, Failure, Refusal, chat, run
    from selflong.llm.serve import serve

    async def summarise(endpoint, texts):
        with Cache(work / "requests") as cache:
            async with Client(endpoint, cache, expected_requests=len(texts)) as client:
                requests = (chat([{"role": "user", "content": text}], max_tokens=200, temperature=0)
                            for text in texts)
                async for request, result in client.ask_all(requests):   # as they complete
                    match result:
                        case Answer(): ...    # .text, .prompt_tokens, .completion_tokens, .key
                        case Refusal(): ...   # the server will never answer it: .reason, .status
                        case Failure(): ...   # every attempt failed: .reason; asked again next run
                one = await client.ask(chat([...], max_tokens=5))         # or one at a time
                print(client.usage)

    with serve(serving, weights, name="smollm2", context_tokens=4096, log=log) as endpoint:
        run(summarise(endpoint, texts))

Where no coroutine of one's own is wanted, `answers(endpoint, cache_folder, requests)` returns the results
in the order of the requests, and the usage.

- `serve` takes one of the site's servings: llama.cpp, vLLM, `generate` of transformers (all three started
  in a process that ends with this one, on a random loopback port with a random key), or a remote endpoint.
- `Request(path, body)` is anything of the OpenAI protocol that is not streamed; `chat` and `completion`
  build the usual two, `completion` takes token ids as well. `request.key(endpoint)` and `answer.key` are
  the SHA-256 of the whole request with the model's identity: what provenance records.
- An `Answer` is in the cache before anyone sees it. A `Refusal` is stored too (never asked again with the
  same context length), a `Failure` is not. Only what speaks of a request's length or content refuses it.
- `ask` and `ask_all` raise UserError where the run cannot go on: a wrong key or model name, an endpoint
  that answers nobody any more, `BudgetSpent`. Called again, the run goes on from what is stored. The
  budget counts everything in the cache folder and the most that the requests in flight may cost.
- Each process writes segments of its own in a cache folder, any number may share it.
"""

from selflong.llm.cache import Cache
from selflong.llm.client import Client, Usage, answers, run
from selflong.llm.limits import Budget, BudgetSpent, Patience
from selflong.llm.protocol import (
    Answer,
    Endpoint,
    Failure,
    Refusal,
    Request,
    Result,
    chat,
    completion,
)

__all__ = [
    "Answer",
    "Budget",
    "BudgetSpent",
    "Cache",
    "Client",
    "Endpoint",
    "Failure",
    "Patience",
    "Refusal",
    "Request",
    "Result",
    "Usage",
    "answers",
    "chat",
    "completion",
    "run",
]
