"""What a served policy does when its server does not: retries, deadlines, and one line for what remains."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from commands.think import Attempt, Observed, attempt
from policy.base import BadPolicy, Sampling, Thought
from policy.budget import Budget, Meter
from policy.served import endpoint
from policy.served.endpoint import ServerFailed
from policy.served.policy import Served
from search.best_of_n import BestOfN
from tests.policy.served.standin import Behaviour, Standin, choice, cut, says, silent
from verifiers.base import Problem, State
from verifiers.domains.countdown import Countdown

WHERE = State(Problem("p", "toy", "what?", {}))


async def ask(
    policy: Served, k: int = 1, sampling: Sampling = Sampling.INDEPENDENT, meter: Meter | None = None, first: int = 0
) -> list[Thought]:
    meter = meter or Budget(seconds=60).start()
    return await policy.propose(WHERE, k, sampling=sampling, seed=0, meter=meter, first=first)


@pytest.mark.parametrize("fault", [says(500, "oops"), says(503, {"detail": "busy"}), cut], ids=["500", "503", "cut"])
async def test_passing_faults_are_retried(fault: Behaviour, standin: Standin, serve) -> None:
    policy = serve(standin.url)
    standin.next += [fault]
    before = policy.usage.requests
    (thought,) = await ask(policy)
    assert thought.text.startswith("line ")
    assert (policy.usage.requests - before, policy.usage.retries) == (2, 1)


async def test_retry_after_is_heeded(standin: Standin, serve) -> None:
    policy = serve(standin.url)
    standin.next += [says(429, {"error": {"message": "slower"}}, Retry_After="1.2")]
    began = time.monotonic()
    assert len(await ask(policy)) == 1
    assert 1.2 <= time.monotonic() - began < 10
    assert policy.usage.retries == 1


async def test_no_retry_outlives_the_budget(standin: Standin, serve) -> None:
    policy = serve(standin.url)
    standin.next += [says(429, {}, Retry_After="60")]
    began = time.monotonic()
    assert await ask(policy, meter=Budget(seconds=0.4).start()) == []
    assert 0.3 < time.monotonic() - began < 5


@pytest.mark.parametrize(("fault", "told"), [
    (says(500, {"error": {"message": "out of\nmemory"}}), "status 500: out of memory"),
    (cut, "cannot get an answer"),
    (says(200, "{not json"), "gave no usable answer"),
    (says(200, "<html>hello</html>", Content_Type="text/html"), "no JSON object"),
    (says(200, []), "no JSON object"),
    (says(200, {"hello": 1}), "no 'choices'"),
    (says(200, {"choices": []}), "has no choices"),
    (says(200, {"choices": [3]}), "no JSON object"),
    (says(200, {"choices": [{"index": 0, "finish_reason": "stop"}]}), "no 'text'"),
    (says(200, {"choices": [choice("a", False)], "usage": {"prompt_tokens": "1"}}), "no 'prompt_tokens'"),
    (says(200, {"choices": [choice("a", False)], "usage": {"prompt_tokens": 1, "completion_tokens": -1}}), "counts"),
    (says(200, {"choices": [choice("a", False, finish_reason="odd")]}), "finish_reason"),
    (says(200, {"choices": [choice("a", False, logprobs={"tokens": ["a"], "token_logprobs": ["b"]})]}), "no numbers"),
    (says(200, {"choices": [choice("a", False)]}), "no log-probabilities"),
    (says(400, {"error": "your key s3cret-key is odd"}), "your key [the key] is odd"),
    (says(401, {"error": {"message": "who are you?"}}), "status 401: who are you"),
])
async def test_what_remains_is_one_line(fault: Behaviour, told: str, standin: Standin, serve) -> None:
    policy = serve(standin.url, retries=1)
    standin.next += [fault, fault]
    with pytest.raises(ServerFailed) as caught:
        await ask(policy)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value) and "s3cret" not in str(caught.value) and len(str(caught.value)) < 400
    standin.next.clear()
    assert len(await ask(policy)) == 1  # and the next one may succeed


async def test_a_failure_is_the_error_of_the_attempt(standin: Standin, serve) -> None:
    domain = Countdown("game24", [4], 1, 13, 24, 24, target=24)
    problem = domain.parse("4 9 10 13")
    assert problem is not None
    policy, record = serve(standin.url, retries=0), Attempt()
    standin.next += [says(200, {"choices": []})]
    meter = Budget(seconds=20).start()
    await attempt(problem, Observed(policy), domain.judge(), BestOfN(), meter, 0, record)
    assert record.error == "ServerFailed: the server's answer has no choices"


@pytest.mark.parametrize("how", ["deadline", "cancelled meter", "cancelled task"])
async def test_a_request_ends_with_its_search(how: str, standin: Standin, serve) -> None:
    policy = serve(standin.url)
    standin.next += [silent]
    meter = Budget(seconds=0.3 if how == "deadline" else 60).start()
    asked, began = asyncio.create_task(ask(policy, meter=meter)), time.monotonic()
    await asyncio.sleep(0.2)
    if how == "cancelled meter":
        meter.cancel()
    if how == "cancelled task":
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
    else:
        assert await asked == []
    assert time.monotonic() - began < 5
    for _ in range(100):
        if standin.hung_up:
            break
        await asyncio.sleep(0.05)
    assert standin.hung_up == 1  # the connection was closed, so that the server may stop, too


async def test_a_slow_answer_is_given_up(standin: Standin, serve) -> None:
    policy = serve(standin.url, retries=0, timeout=0.5)

    async def asleep(*_: object) -> None:
        await asyncio.sleep(60)

    standin.next += [asleep]
    with pytest.raises(ServerFailed, match=r"did not answer within 0\.5 s"):
        await ask(policy)


async def test_few_requests_are_in_flight(standin: Standin, serve) -> None:
    policy = serve(standin.url, concurrency=2)
    under_way = most = 0

    async def counted(writer: asyncio.StreamWriter, body: dict[str, object]) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.05)
        under_way -= 1
        await standin.always(writer, body)

    standin.next += [counted] * 6
    assert all(await asyncio.gather(*(ask(policy, first=i) for i in range(6))))
    assert most == 2


@pytest.mark.parametrize(("option", "lost"), [("n", "n"), ("logprobs", "logprobs"), ("seed", "seed")])
@pytest.mark.parametrize("way", ["refuses", "ignores"])
async def test_poorer_servers(way: str, option: str, lost: str, standin: Standin, serve, caplog) -> None:
    setattr(standin, way, (option,))
    with caplog.at_level(logging.WARNING):
        policy = serve(standin.url)
    noticed = (way, option) != ("ignores", "seed")  # nobody can tell whether a seed was heeded
    assert (lost not in policy.dialect.offers) == noticed
    assert len([record for record in caplog.records if record.name.startswith("policy")]) == noticed
    thoughts = await ask(policy, 3)
    assert len(thoughts) == 3
    if noticed:
        assert option not in standin.posts[-1].body
    if option == "logprobs":
        assert {round(thought.logprob, 3) for thought in thoughts} == {-0.693}


async def test_n_is_given_up_once_where_it_is_too_many(standin: Standin, serve, caplog) -> None:
    policy, asked = serve(standin.url), len(standin.posts)
    standin.next += [says(400, {"error": {"message": "more samples than slots"}})]
    with caplog.at_level(logging.WARNING):
        first, again = await ask(policy, 4), await ask(policy, 4)
    assert first == again and len({thought.text for thought in first}) == 4
    assert len(standin.posts) - asked == 1 + 4 + 4
    assert len([record for record in caplog.records if record.name.startswith("policy")]) == 1


async def test_a_state_that_is_too_long_has_no_thoughts(standin: Standin, serve) -> None:
    policy = serve(standin.url)
    said = says(400, {"error": {"message": "This model's maximum context length is 512 tokens."}})
    standin.next += [said, said]
    assert await ask(policy, 1) == [] == await ask(policy, 3, Sampling.DISTINCT)
    assert policy.dialect.n


@pytest.mark.parametrize(("behaviour", "told"), [
    (says(401, {"error": {"message": "wrong key s3cret-key"}}), "OPENAI_API_KEY"),
    (says(404, {"error": {"message": "no such model"}}), "the server's models: other, third"),
    (says(400, {"error": {"message": "temperature?"}}), "temperature?"),
    (says(200, {"choices": []}), "no choices"),
])
def test_what_is_wrong_from_the_start(behaviour: Behaviour, told: str, standin: Standin, serve) -> None:
    standin.models = ["other", "third"]
    standin.next += [behaviour] * 20
    with pytest.raises(BadPolicy) as caught:
        serve(standin.url)
    assert told in str(caught.value) and "\n" not in str(caught.value) and "s3cret" not in str(caught.value)


def test_nobody_there(standin: Standin, serve) -> None:
    url = standin.url.replace("127.0.0.1", "127.0.0.2")
    with pytest.raises(BadPolicy, match="cannot get an answer from"):
        serve(url)


@pytest.mark.parametrize(("options", "told"), [
    ({"api": "talk"}, "allowed: chat, completions"),
    ({"logprobs": "perhaps"}, "allowed: auto, true, false"),
    ({"continuation": "x"}, "allowed: auto, prefix, turns"),
    ({"timeout": 0.0}, "above 0"),
    ({"retries": -1}, "at least 0"),
    ({"system": "nowhere.txt"}, "cannot read policy.system"),
])
def test_bad_options(options: dict[str, object], told: str, serve) -> None:
    with pytest.raises(BadPolicy, match=told):
        serve("http://127.0.0.1:9/v1", **options)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://a/v1", "http://", "http://me:secret@host/v1", "http://h/?k=1"])
def test_bad_addresses(url: str, serve) -> None:
    with pytest.raises(BadPolicy) as caught:
        serve(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("retries", [0, 1])
async def test_an_answer_that_dribbles_is_given_up_and_asked_for_again(retries: int, standin: Standin, serve) -> None:
    policy, began = serve(standin.url, retries=retries, timeout=0.5), time.monotonic()
    standin.next += [silent]
    if retries:
        assert len(await ask(policy)) == 1
    else:
        with pytest.raises(ServerFailed, match=r"did not answer within 0\.5 s"):
            await ask(policy)
    assert time.monotonic() - began < 10


def test_a_server_that_dribbles_from_the_start_is_refused(standin: Standin, serve) -> None:
    standin.next += [silent]
    with pytest.raises(BadPolicy, match="did not answer within"):
        serve(standin.url, retries=0, timeout=0.5)


async def test_an_answer_without_end_is_given_up(standin: Standin, serve, monkeypatch) -> None:
    monkeypatch.setattr(endpoint, "MOST", 1 << 20)
    policy, sent = serve(standin.url, retries=0, timeout=60), 0

    async def floods(writer: asyncio.StreamWriter, _: dict[str, object]) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n%s\r\n" % (b" " * 0x10000))
            sent += 0x10000
            await writer.drain()

    standin.next += [floods]
    with pytest.raises(ServerFailed, match="longer than 1048576 bytes"):
        await ask(policy)
    assert sent < 50 << 20


async def test_nothing_is_sent_on_to_another_server(standin: Standin, serve) -> None:
    policy, elsewhere = serve(standin.url, retries=0), Standin()
    standin.next += [says(307, "", Location=f"{elsewhere.url}/completions")]
    with pytest.raises(ServerFailed, match="status 307"):
        await ask(policy)
    assert not elsewhere.asked
    elsewhere.close()


@pytest.mark.parametrize("body", ["[" * 200_000 + "]" * 200_000, '{"choices": ' + "9" * 5_000 + "}"])
async def test_json_that_cannot_be_read_is_a_failure(body: str, standin: Standin, serve) -> None:
    policy = serve(standin.url, retries=0)
    standin.next += [says(200, body)]
    with pytest.raises(ServerFailed, match="gave no usable answer"):
        await ask(policy)
    standin.next += [says(200, body)]
    with pytest.raises(BadPolicy, match="gave no usable answer"):
        serve(standin.url, retries=0)


async def test_half_characters_harm_no_search(standin: Standin, serve) -> None:
    policy = serve(standin.url, logprobs=False)
    standin.next += [says(200, '{"choices": [{"text": "1\\ud8002", "index": 0, "finish_reason": "stop"}]}')]
    (thought,) = await ask(policy)
    state = State(Problem("p", "toy", "what?", {}), (thought.text,))
    assert await policy.propose(state, 1, sampling=Sampling.GREEDY, seed=0, meter=Budget(seconds=20).start())
    assert thought.text.isprintable() and thought.text.encode()
