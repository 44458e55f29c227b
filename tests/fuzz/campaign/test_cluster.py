"""Campaigns on a cluster: workers that are killed are replaced, and nothing of the campaign is lost with them."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tcomp.fuzz.campaign import cluster
from tcomp.fuzz.campaign.campaign import Budget, Campaign
from tcomp.fuzz.campaign.cluster import LOCAL, ClusterWorker, connected
from tcomp.fuzz.campaign.process import WorkerError
from tcomp.fuzz.campaign.protocol import Job

TESTS = 40
KILLS = 3


def find_actors():
    """The processes of this cluster's workers: each calls itself what it runs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::") and b"_Actor" in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def kill_some(campaign, killed):
    """Kill a worker whenever some more tests have been made."""
    while len(killed) < KILLS and campaign.state.tests < TESTS:
        time.sleep(0.05)
        if campaign.state.tests < (len(killed) + 1) * TESTS // (2 * KILLS):
            continue
        for actor in find_actors()[:1]:
            os.kill(actor, signal.SIGKILL)
            killed.append(actor)


def test_a_campaign_survives_the_workers_that_it_loses(tmp_path):
    pytest.importorskip("ray")
    killed = []
    with connected(LOCAL, 2) as processors:
        assert processors == 2
        campaign = Campaign(
            tmp_path, Budget(600, TESTS), seed=1, jobs=2, layers=("cascades",), native=0, employ=ClusterWorker
        )  # fmt: skip
        killer = threading.Thread(target=kill_some, args=(campaign, killed), daemon=True)
        killer.start()
        assert campaign.run() == []
        killer.join()
    assert len(killed) == KILLS
    # Two may be under way when the last is counted; none is counted for a worker that was lost.
    assert TESTS <= campaign.state.tests <= TESTS + 2
    assert campaign.corpus.entries and len(list(tmp_path.glob("corpus/*.seed"))) == len(campaign.corpus.entries)
    assert not campaign.buckets.known


def test_a_cluster_that_is_not_there_is_told():
    with pytest.raises(WorkerError, match="no cluster can be reached at 'nowhere'"), connected("nowhere", 1):
        pass


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(WorkerError, match="distributed"):
        ClusterWorker(30.0, 4096)


class LostActors:
    """Stands in for Ray on a machine that loses every worker."""

    class exceptions:  # noqa: N801 (as Ray has it)
        class RayError(Exception):
            pass

        class RayTaskError(RayError):
            pass

    def remote(self, **_):
        return lambda kind: self

    def __getattr__(self, name):
        return self

    def __call__(self, *args, **named):
        return self

    def get(self, *args, **named):
        raise self.exceptions.RayError("the machine is gone")


def test_a_cluster_that_loses_every_worker_ends_the_campaign(monkeypatch):
    lost = LostActors()
    monkeypatch.setattr(cluster, "find_ray", lambda: lost)
    monkeypatch.setattr(LostActors, "remote", lambda self, *args, **named: self)
    with pytest.raises(WorkerError, match="loses its workers"):
        ClusterWorker(30.0, 4096).ask(Job(0))
