"""The loop: who takes over, what is refused, and that an interruption anywhere changes nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from policy.base import Thought
from policy.scripted import Scripted
from selfplay.asymmetric import Proposals
from selfplay.audit import BrokenReward
from selfplay.collecting import Event, StaleWorker
from selfplay.files import StoreFull
from selfplay.generations import NothingLearned, Plan, point_at
from selfplay.lessons import Lesson
from selfplay.objectives import RejectionSampling
from selfplay.state import BadState, Phase, State
from selfplay.store import Store
from selfplay.trajectory import Purpose, Trajectory
from tests.selfplay.skilled import Skilled, accounts, loop
from verifiers.base import Problem, Status, Verdict, correct
from verifiers.domains.countdown import Countdown


class Interrupted(Exception):
    """Somebody pulled the plug."""


def test_a_better_candidate_takes_over_and_a_damaged_one_does_not(tmp_path: Path) -> None:
    events: list[Event] = []
    run = loop(tmp_path, [0.6, 0.0, 1.0], tell=events.append)
    run.run()
    rows = run.state.history
    assert [row["promoted"] for row in rows] == [True, False, True]
    assert [row["against"] for row in rows] == [0, 1, 1] and [row["champion"] for row in rows] == [0, 1, 1]
    assert (tmp_path / "champion").resolve() == tmp_path / "generation-3"
    assert (tmp_path / "generation-2").is_dir()  # kept on record
    elo = run.state.elo()
    assert elo["system1"][3][0] > elo["system1"][1][0] > 0 > elo["system1"][2][1]
    assert elo["system1"][3][1] > 0  # its interval excludes zero
    assert rows[2]["accuracies"]["system1"][0] == 1.0
    assert rows[0]["core_hours"] < rows[2]["core_hours"]
    assert {event.kind for event in events} == {"play", "learn", "match", "generation"}
    assert State.load(tmp_path).generation == 4
    run.run()  # nothing is left to do
    assert run.state.history == rows


def test_training_sees_training_problems_of_the_window_alone(tmp_path: Path) -> None:
    run = loop(tmp_path, [0.5, 0.5])
    run.run()
    store = Store(str(tmp_path / "store"))
    train = {t.problem.id for n in (1, 2) for t in store.trajectories(n) if t.purpose is Purpose.TRAIN}
    matched = {t.problem.id for n in (0, 1, 2) for t in store.trajectories(n) if t.purpose is Purpose.MATCH}
    assert train and matched and not train & matched
    assert store.counts(0, Purpose.TRAIN).tokens == 0
    gathered = run.parts.learner.gathered  # type: ignore[attr-defined]
    assert gathered[2].played.trajectories == 24 and gathered[1].played.trajectories == 12


@pytest.mark.parametrize("moments", [5, pytest.param(17, marks=pytest.mark.heavy)])
def test_an_interruption_anywhere_changes_nothing(tmp_path: Path, moments: int) -> None:
    total: list[Event] = []
    loop(tmp_path / "whole", [0.6, 1.0], tell=total.append).run()
    expected = accounts(tmp_path / "whole")
    for number, moment in enumerate(range(0, len(total), len(total) // moments)):
        folder, left = tmp_path / str(number), moment

        def pull(event: Event) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Interrupted

        with pytest.raises(Interrupted):
            loop(folder, [0.6, 1.0], tell=pull).run()
        loop(folder, [0.6, 1.0]).run()
        assert accounts(folder) == expected, f"interrupted at event {moment}"


def test_killed_between_the_promotion_and_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pulled(link: Path, folder: Path) -> None:
        point_at(link, folder)
        raise Interrupted

    loop(tmp_path / "whole", [0.6, 1.0]).run()
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("selfplay.generations.point_at", pulled)
        loop(tmp_path / "run", [0.6, 1.0]).run()
    assert State.load(tmp_path / "run").champion == 0 and (tmp_path / "run" / "champion").exists()
    loop(tmp_path / "run", [0.6, 1.0]).run()
    assert accounts(tmp_path / "run") == accounts(tmp_path / "whole")


def test_more_generations_may_be_asked_for_later(tmp_path: Path) -> None:
    loop(tmp_path, [0.6, 1.0], generations=1).run()
    assert State.load(tmp_path).generation == 2
    loop(tmp_path, [0.6, 1.0]).run()
    assert [row["generation"] for row in State.load(tmp_path).history] == [1, 2]


def test_without_the_gate_everybody_takes_over(tmp_path: Path) -> None:
    run = loop(tmp_path, [0.6, 0.0], gate=False)
    run.run()
    assert [row["promoted"] for row in run.state.history] == [True, True]
    assert not run.state.matches and Store(str(tmp_path / "store")).generations() == [1, 2]
    assert (tmp_path / "champion").resolve() == tmp_path / "generation-2"


def test_a_policy_that_does_not_change_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(StaleWorker, match=r"plays with the policy skilled-0.0, not with skilled-0.6 of generation-1"):
        loop(tmp_path, [0.6], policy=Skilled(stuck=True)).run()
    assert not State.load(tmp_path).history and State.load(tmp_path).phase is Phase.MATCH


def test_a_candidate_that_cannot_be_loaded_is_refused_and_the_run_goes_on(tmp_path: Path) -> None:
    run = loop(tmp_path, [-1.0, 1.0])
    run.run()
    first, second = run.state.history
    assert not first["promoted"] and first["reason"] == "the candidate cannot be played: the weights are broken"
    assert second["promoted"] and second["against"] == 0 and len(run.state.matches) == 2


class Breaking(Skilled):
    """Fails to answer once it wears an adapter of some skill."""

    async def propose(self, *args: Any, **more: Any) -> list[Thought]:
        if self.version == "skilled-0.5":
            raise RuntimeError("out of memory")
        return await super().propose(*args, **more)


def test_a_candidate_whose_searches_fail_is_refused_and_the_run_goes_on(tmp_path: Path) -> None:
    run = loop(tmp_path, [0.5, 1.0], policy=Breaking())
    run.run()
    assert [row["promoted"] for row in run.state.history] == [False, True]
    assert "searches ended in an error" in run.state.history[0]["reason"]
    assert "out of memory" in run.state.history[0]["reason"]


def test_a_reward_that_breaks_in_a_match_is_not_the_candidates_fault(tmp_path: Path) -> None:
    class Late(Countdown):
        broken = False

        def check(self, problem: Problem, answer: str) -> Verdict:
            if type(self).broken:
                raise RuntimeError("the grader is gone")
            return super().check(problem, answer)

    matched = 0

    def pull(event: Event) -> None:
        nonlocal matched
        matched += event.kind == "match"
        Late.broken = matched >= 30  # in the second side, the candidate's

    with pytest.raises(BrokenReward):
        loop(tmp_path, [0.6], domain=Late("countdown", [3], 1, 9, 5, 30), tell=pull).run()
    assert State.load(tmp_path).phase is Phase.MATCH


class Generous(Countdown):
    """Pays for everything."""

    def check(self, problem: Problem, answer: str) -> Verdict:
        return correct()


class Failing(Countdown):
    """Grades its own demonstrations, and fails on whatever a search finds."""

    calls = 0

    def check(self, problem: Problem, answer: str) -> Verdict:
        type(self).calls += 1
        if type(self).calls > 150:
            raise RuntimeError("the grader's disk is full")
        return super().check(problem, answer)


def test_a_reward_that_pays_for_nonsense_is_never_played_for(tmp_path: Path) -> None:
    run = loop(tmp_path, [1.0], domain=Generous("countdown", [3], 1, 9, 5, 30))
    with pytest.raises(BrokenReward, match=r"pays .* of answers that are nonsense"):
        run.run()
    assert not Store(str(tmp_path / "store")).generations() and not run.parts.learner.gathered  # type: ignore[attr-defined]


def test_a_verifier_that_breaks_on_the_way_stops_the_run(tmp_path: Path) -> None:
    run = loop(tmp_path, [1.0], domain=Failing("countdown", [3], 1, 9, 5, 30), problems=60)
    with pytest.raises(BrokenReward, match=r"searches ended in an error, .* the grader's disk is full"):
        run.run()
    assert not run.parts.learner.gathered  # type: ignore[attr-defined]
    statuses = Store(str(tmp_path / "store")).counts(1).trajectories
    assert statuses[Status.ERROR] > 0  # recorded all the same
    loop(tmp_path, [1.0], problems=60).run()  # the grader is mended, and what it failed on is played again
    loop(tmp_path / "whole", [1.0], problems=60).run()
    assert accounts(tmp_path)["episodes"] == accounts(tmp_path / "whole")["episodes"]
    assert Store(str(tmp_path / "store")).counts(1).trajectories[Status.ERROR] == 0


def test_nothing_found_is_nothing_learned(tmp_path: Path) -> None:
    class Silent(Scripted):
        version = "skilled-0.0"

    with pytest.raises(NothingLearned, match="generation 1 found nothing to learn from in 12 searches"):
        loop(tmp_path, [1.0], policy=Silent({})).run()


def test_where_all_had_the_same_reward_the_run_goes_on(tmp_path: Path) -> None:
    class Mute(RejectionSampling):
        def teach(self, played: Sequence[Trajectory], latest: int) -> list[Lesson]:
            return []

    run = loop(tmp_path, [0.6, 1.0])
    run.parts.learner.objective = Mute()
    run.run()
    assert [row["promoted"] for row in run.state.history] == [False, False]
    assert all("nothing to learn" in row["reason"] and row["steps"] == 0 for row in run.state.history)


def test_episodes_of_another_policy_are_not_taken_for_ones_own(tmp_path: Path) -> None:
    loop(tmp_path, [0.6], generations=1).run()
    run = loop(tmp_path, [0.6])
    run.state = State()  # the store of a run that was removed, whose policy is another one by now
    run._collector._version = lambda adapter: "skilled-0.25"
    with pytest.raises(StaleWorker, match=r"plays with the policy skilled-0.0, not with skilled-0.25 of the base"):
        run.run()  # they were not taken as played, and whoever plays is the old one still


def test_what_a_damaged_file_held_is_played_again(tmp_path: Path) -> None:
    loop(tmp_path / "whole", [0.6]).run()
    told: list[Event] = []

    def damage(event: Event) -> None:
        told.append(event)
        if len(told) == 5:
            file = next((tmp_path / "run" / "store" / "journal" / "1").glob("*.parquet"))
            file.write_bytes(file.read_bytes()[:100])

    loop(tmp_path / "run", [0.6], tell=damage).run()
    assert [event.values["moved"] is not None for event in told if event.kind == "damage"] == [True]
    assert accounts(tmp_path / "run") == accounts(tmp_path / "whole")


@pytest.mark.parametrize("phase", [Phase.PLAY, Phase.LEARN])
def test_what_a_part_lost_is_played_again_even_if_its_ids_can_be_read(tmp_path: Path, phase: Phase) -> None:
    loop(tmp_path / "whole", [0.6]).run()

    def pull(event: Event) -> None:
        if event.kind == "learn":
            raise Interrupted

    with pytest.raises(Interrupted):
        loop(tmp_path / "run", [0.6], tell=pull).run()
    [part] = (tmp_path / "run" / "store" / "generation-1").glob("part-*.parquet")
    metadata = pq.read_metadata(part)
    column = next(metadata.row_group(0).column(i) for i in range(metadata.num_columns)
                  if metadata.row_group(0).column(i).path_in_schema.startswith("examples.list.element.moves"))
    content = bytearray(part.read_bytes())
    at = column.data_page_offset + column.total_compressed_size - 3
    content[at] ^= 255
    part.write_bytes(content)
    state = State.load(tmp_path / "run")
    state.phase = phase
    state.save(tmp_path / "run")
    told: list[Event] = []
    loop(tmp_path / "run", [0.6], tell=told.append).run()
    assert [event.kind for event in told].count("damage") == 1
    assert accounts(tmp_path / "run") == accounts(tmp_path / "whole")


def test_a_full_disk_keeps_its_own_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    def pull(event: Event) -> None:
        monkeypatch.setattr(State, "save", full)
        raise StoreFull("no space left for STORE/journal")

    with pytest.raises(StoreFull, match="STORE/journal"):
        loop(tmp_path, [0.6], tell=pull).run()


def test_a_store_that_only_the_workers_see_is_noticed_at_once(tmp_path: Path) -> None:
    run = loop(tmp_path, [0.6])
    run.parts.pool._store = Store(str(tmp_path / "elsewhere"))  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="worker local has stored what cannot be seen here"):
        run.run()


def test_no_episode_is_doubled(tmp_path: Path) -> None:
    loop(tmp_path, [0.6, 1.0]).run()
    store = Store(str(tmp_path / "store"))
    counts = Counter(row["episode_id"] for number in store.generations() for row in store.read(number))
    assert set(counts.values()) == {1}
    assert not list((tmp_path / "store").glob("journal/*/*"))  # all compacted


@pytest.mark.parametrize("wrong", [{"generations": 0}, {"problems": 0}, {"match_problems": 0}, {"max_errors": 0.0},
                                   {"confidence": 0.5}, {"harm": 0.5}])
def test_a_plan_refuses(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Plan(**wrong)  # type: ignore[arg-type]


def test_a_state_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    for text in ("{", "[]", json.dumps({"version": 99}), json.dumps({"version": 1, "phase": "sleep"})):
        (tmp_path / "state.json").write_text(text)
        with pytest.raises(BadState, match=r"cannot read the state of the run in .*state.json"):
            State.load(tmp_path)


def test_the_policy_proposes_problems_and_learns_from_those_that_were_hard(tmp_path: Path) -> None:
    run = loop(tmp_path, [0.3, 0.6], proposals=Proposals(share=0.5, shown=5))
    run.run()
    store = Store(str(tmp_path / "store"))
    assert not [t for t in store.trajectories(1) if t.purpose is Purpose.PROPOSE]  # nobody has shown it how
    cues = [t for t in store.trajectories(2) if t.purpose is Purpose.PROPOSE]
    assert len(cues) == 6 and all(not t.failed and len(t.lines) == 2 for t in cues)
    texts = {line.thoughts[0] for t in cues for line in t.lines} - {"nonsense"}
    trained = {t.problem.prompt: t for t in store.trajectories(2) if t.purpose is Purpose.TRAIN}
    asked = texts & set(trained)
    assert 1 <= len(asked) <= 6
    taught = [lesson for lesson in run.parts.learner.gathered[2].lessons  # type: ignore[attr-defined]
              if lesson.prompt == "new countdown"]
    assert [lesson.imitation for lesson in taught[:5]] == [(1.0,)] * 5
    rewards = {lesson.thoughts[0]: lesson.imitation[0] for lesson in taught[5:]}
    rates = {text: trained[text].solve_rate for text in asked}
    assert rewards == {text: 1 - rate for text, rate in rates.items() if rate and rate < 1}
