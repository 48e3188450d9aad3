from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from commands import checks
from commands.checks import Finding, Status
from commands.doctor import examine, told
from commands.host import Host, in_cores
from policy.budget import Budget
from selfplay.pool import PoolBroken

Usage = namedtuple("Usage", "free")


def machine(root: Path, files: dict[str, str], affinity: int = 4, **environment: str) -> Host:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Host(root, environment, affinity)


def test_the_doctor_looks_at_this_machine(run, tmp_path: Path) -> None:
    result = run("doctor", "output=json")
    found = {each["check"]: each for each in result.objects}
    assert list(found) == ["packages", "torch", "cores", "memory", "gpu", "sandbox", "disk", "ray", "policy",
                           "compiler", "browser"]
    assert all(set(each) == {"check", "status", "found", "advice"} for each in result.objects)
    assert result.code == any(each["status"] == "failed" for each in result.objects)
    assert found["policy"]["status"] == found["packages"]["status"] == found["disk"]["status"] == "ok", result.out
    assert "= 24, proved" in found["policy"]["found"] and "GFLOP/s" in found["torch"]["found"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["output=xml", "ray=perhaps", "budget=soon", "folder=", "rays=true"])
def test_bad_options_are_one_line(run, option: str) -> None:
    assert option.partition("=")[0] in run("doctor", option).complaint


def test_what_a_check_raises_fails_it_and_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> Finding:
        raise KeyError("of\nthe house")

    fine = Finding(Status.WARNING, "slow", "wait")
    assert examine({"a": broken, "b": lambda: fine}, "json") == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["status"] == "failed" and "KeyError" in first["found"] and "\n" not in first["found"]
    assert second == {"check": "b", "status": "warning", "found": "slow", "advice": "wait"}
    assert examine({"b": lambda: fine}, "text") == 0
    assert told("b", fine, "text").splitlines() == ["warning  b         slow", " " * 19 + "wait"]


def test_dependencies_that_are_missing_or_of_another_version(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\ndependencies = ["numpy>=1", "pytest>=999", "no-such-thing-at-all"]\n')
    finding = checks.packages(project)
    assert finding.status is Status.FAILED and "make demo" in finding.advice
    assert "no-such-thing-at-all is missing" in finding.found and "not >=999" in finding.found
    assert "numpy" not in finding.found


def test_torch_that_is_broken() -> None:
    def missing() -> Any:
        raise OSError("libtorch_cpu.so: cannot open\nshared object file")

    assert checks.torch(missing).status is Status.FAILED
    assert checks.gpu(missing).status is Status.WARNING

    class Ones:
        def __init__(self, *_: int) -> None: ...
        def __matmul__(self, other: Ones) -> Ones: return self
        def __getitem__(self, place: tuple[int, int]) -> float: return self.first
        first = 1024.0

    def torch(available: bool) -> Any:
        mkldnn = SimpleNamespace(is_available=lambda: available)
        return SimpleNamespace(__version__="9", ones=Ones, get_num_threads=lambda: 3,
                               backends=SimpleNamespace(mkldnn=mkldnn))

    assert checks.torch(lambda: torch(True)).status is Status.OK
    slow = checks.torch(lambda: torch(False))
    assert slow.status is Status.WARNING and "without oneDNN" in slow.found and "3 threads" in slow.found
    Ones.first = 7.0
    assert checks.torch(lambda: torch(True)).status is Status.FAILED


@pytest.mark.parametrize(("files", "asked", "status", "threads"), [
    ({}, "", Status.OK, None),
    ({}, "4", Status.OK, None),
    ({}, "64", Status.WARNING, 4),
    ({}, "many", Status.WARNING, 4),
    ({}, "0", Status.WARNING, 4),
    ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
      "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, "", Status.WARNING, 1),
    ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "800000 100000\n"}, "", Status.OK, None),
    ({"proc/self/cgroup": "3:cpu,cpuacct:/x\n0::/\n", "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "200000",
      "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000"}, "", Status.WARNING, 2),
    ({"proc/self/cgroup": "3:cpu:/x\n", "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "-1",
      "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000"}, "", Status.OK, None),
])
def test_more_threads_than_cores_are_noticed(
    tmp_path: Path, files: dict[str, str], asked: str, status: Status, threads: int | None
) -> None:
    host = machine(tmp_path, files, **({"OMP_NUM_THREADS": asked} if asked else {}))
    finding = checks.cores(host)
    assert finding.status is status, finding
    assert finding.advice == "" if threads is None else f"OMP_NUM_THREADS={threads}:" in finding.advice


def test_one_core_is_singular(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"}
    found = checks.cores(machine(tmp_path, files, affinity=1)).found
    assert found.startswith("1 core may be used, a quota of 1 core, ")
    assert [in_cores(count) for count in (1, 1.5, 2)] == ["1 core", "1.5 cores", "2 cores"]


@pytest.mark.parametrize(("free", "limit", "status"), [
    (16, None, Status.OK), (2, None, Status.WARNING), (16, 0.5, Status.FAILED), (0.1, 8, Status.FAILED),
    (None, None, Status.WARNING), (16, 2**63, Status.OK),
])
def test_memory_is_what_the_tightest_limit_leaves(
    tmp_path: Path, free: float | None, limit: float | None, status: Status
) -> None:
    files = {} if free is None else {"proc/meminfo": f"MemTotal: 9 kB\nMemAvailable: {int(free * 1e6)} kB\n"}
    if limit is not None:
        files |= {"proc/self/cgroup": "4:memory:/here\n",
                  "sys/fs/cgroup/memory/here/memory.limit_in_bytes": str(int(limit * 1e9) + 10**9),
                  "sys/fs/cgroup/memory/here/memory.usage_in_bytes": str(10**9)}
    assert checks.memory(machine(tmp_path, files)).status is status


def test_gpus() -> None:
    def torch(count: int, bf16: bool = True) -> Any:
        return SimpleNamespace(cuda=SimpleNamespace(
            is_available=lambda: count > 0, device_count=lambda: count, is_bf16_supported=lambda: bf16,
            get_device_name=lambda index: f"card {index}"))

    both = checks.gpu(lambda: torch(2))
    assert both.status is Status.OK and both.found == "card 0, card 1, with bf16"
    assert checks.gpu(lambda: torch(1, False)).status is Status.WARNING
    assert checks.gpu(lambda: torch(0), lambda name: None).status is Status.OK
    assert checks.gpu(lambda: torch(0), lambda name: f"/usr/bin/{name}").status is Status.WARNING


def test_walls_that_are_missing_are_named() -> None:
    class Degraded:
        missing, outer = {"landlock": "the kernel\nhas none"}, False

        def __init__(self, allowed: Sequence[str]) -> None:
            assert "landlock" in allowed

        def __enter__(self) -> Degraded:
            return self

        def __exit__(self, *_: object) -> None: ...

    finding = checks.sandbox(Degraded)
    assert finding.status is Status.WARNING and finding.found == "missing: landlock (the kernel has none)"
    assert "domain.allow_degraded=[landlock]" in finding.advice

    def refused(allowed: Sequence[str]) -> Any:
        raise OSError("no namespaces")

    assert checks.sandbox(refused).status is Status.FAILED


def test_disks(tmp_path: Path) -> None:
    place = tmp_path / "runs" / "here"
    assert checks.disk(place, lambda path: Usage(10**10)).status is Status.OK and not place.exists()
    assert checks.disk(place, lambda path: Usage(10**9)).status is Status.WARNING
    assert checks.disk(place, lambda path: Usage(10**8)).status is Status.FAILED
    (tmp_path / "file").write_text("")
    finding = checks.disk(tmp_path / "file" / "runs")
    assert finding.status is Status.FAILED and "cannot be written" in finding.found


def test_ray_is_tried_when_asked_for() -> None:
    left = []

    def join(address: str | None, cpus: float) -> Any:
        assert address is None
        return lambda: left.append(cpus)

    def broken(address: str | None, cpus: float) -> Any:
        raise PoolBroken("cannot start Ray on this machine: no room")

    assert "ray=true" in checks.ray(False, broken).advice
    assert checks.ray(True, join).status is Status.OK and left == [1]
    failed = checks.ray(True, broken)
    assert failed.status is Status.FAILED and "selfplay=local" in failed.advice


@pytest.mark.heavy
def test_ray_really_starts(run) -> None:
    [found] = [each for each in run("doctor", "output=json", "ray=true").objects if each["check"] == "ray"]
    assert found["status"] == "ok" and "127.0.0.1" in found["found"]


def test_a_policy_that_is_damaged_or_knows_nothing() -> None:
    finding = checks.policy(Budget(seconds=10), "policy.path=/nowhere")
    assert finding.status is Status.FAILED and "nowhere" in finding.found and "policy/shipped" in finding.advice
    short = checks.policy(Budget(tokens=60, seconds=10), "search=greedy")
    assert short.status is Status.FAILED and "no proved answer" in short.found


def test_programs_are_optional() -> None:
    assert checks.program(("a", "b"), "x", lambda name: "/bin/b" if name == "b" else None).found == "/bin/b"
    none = checks.program(("a", "b"), "x", lambda name: None)
    assert none == Finding(Status.OK, "none (a, b)", "optional: needed only for x")
