"""One story at a time: what a fleet does, command by command."""

import random

import pytest

from mme_sdk.errors import InvalidInputError
from mme_sdk.fleet import (
    Discard,
    Download,
    Fail,
    Fifo,
    Fleet,
    FleetPolicy,
    Footprint,
    Load,
    RandomRouting,
    Run,
    State,
    Sticky,
    Unload,
)

SMALL = Footprint(disk_bytes=10, memory_bytes=40)


def make(instances=1, **policy):
    fleet = Fleet(FleetPolicy(**{"memory_bytes": 100, "volume_bytes": 100} | policy), random.Random(1))
    for number in range(instances):
        fleet.add_instance(f"i{number}", now=0.0)
    return fleet


def serve(fleet, request, model, footprint=SMALL, now=0.0):
    """One request to its end, performing everything at once; the commands in order."""
    seen, todo = [], fleet.arrive(request, model, footprint, now)
    while todo:
        command = todo.pop(0)
        seen.append(command)
        match command:
            case Download(instance, name):
                todo += fleet.downloaded(instance, name, None, now)
            case Load(instance, name):
                todo += fleet.loaded(instance, name, now)
            case Unload(instance, name):
                todo += fleet.unloaded(instance, name)
            case Discard(instance, name):
                todo += fleet.discarded(instance, name)
            case Run(_, _, which):
                todo += fleet.finished(which, now)
    return seen


def kinds(commands):
    return [(type(each).__name__, each.model) for each in commands]


def test_first_request_downloads_loads_and_runs_and_the_second_is_a_hit():
    fleet = make()
    assert kinds(serve(fleet, "r1", "a")) == [("Download", "a"), ("Load", "a"), ("Run", "a")]
    assert serve(fleet, "r2", "a") == [Run("i0", "a", "r2")]
    counters = fleet.snapshot().counters
    assert (counters.arrivals, counters.hits, counters.s3_loads) == (2, 1, 1)


def test_memory_full_unloads_the_least_recently_used_and_keeps_its_files():
    fleet = make()
    for request, model in enumerate(["a", "b", "a"]):
        serve(fleet, f"r{request}", model)
    assert kinds(serve(fleet, "r3", "c")) == [("Download", "c"), ("Unload", "b"), ("Load", "c"), ("Run", "c")]
    models = fleet.snapshot().instances["i0"].models
    assert models["b"].state is State.ON_DISK
    # Back from the volume, without S3; "a" is the least recently used now.
    assert kinds(serve(fleet, "r4", "b")) == [("Unload", "a"), ("Load", "b"), ("Run", "b")]
    assert fleet.snapshot().counters.disk_loads == 1


def test_fifo_evicts_the_first_loaded_however_much_it_is_used():
    fleet = make(eviction=Fifo)
    for request, model in enumerate(["a", "b", "a"]):
        serve(fleet, f"r{request}", model)
    assert ("Unload", "a") in kinds(serve(fleet, "r3", "c"))


def test_volume_full_deletes_unused_files_that_are_not_in_memory_first():
    fleet = make(volume_bytes=30)
    for request, model in enumerate("abc"):  # a is on the volume alone; b and c are in memory
        serve(fleet, f"r{request}", model)
    assert kinds(serve(fleet, "r3", "d"))[:2] == [("Discard", "a"), ("Download", "d")]


def test_volume_smaller_than_memory_unloads_and_deletes():
    fleet = make(volume_bytes=20)
    for request, model in enumerate("ab"):
        serve(fleet, f"r{request}", model)
    assert kinds(serve(fleet, "r2", "c"))[:3] == [("Unload", "a"), ("Discard", "a"), ("Download", "c")]


def test_a_model_in_use_is_not_evicted_and_the_load_waits_for_it():
    fleet = make(memory_bytes=50)
    fleet.arrive("r1", "a", SMALL, 0.0)
    fleet.downloaded("i0", "a", None, 0.0)
    assert fleet.loaded("i0", "a", 0.0) == [Run("i0", "a", "r1")]
    fleet.arrive("r2", "b", SMALL, 0.0)
    assert fleet.downloaded("i0", "b", None, 0.0) == []
    assert fleet.finished("r1", 1.0) == [Unload("i0", "a")]
    assert fleet.unloaded("i0", "a") == [Load("i0", "b")]


def test_loader_slots_bound_the_loads_and_the_queue_is_first_come_first_served():
    fleet = make(memory_bytes=1000, loader_slots=2)
    started = [fleet.arrive(f"r{model}", model, SMALL, 0.0) for model in "abcd"]
    assert [bool(each) for each in started] == [True, True, False, False]
    fleet.downloaded("i0", "b", None, 0.0)
    assert fleet.loaded("i0", "b", 0.0) == [Run("i0", "b", "rb"), Download("i0", "c")]


def test_a_slot_is_held_from_download_to_loaded():
    fleet = make(memory_bytes=1000, loader_slots=1)
    fleet.arrive("r1", "a", SMALL, 0.0)
    assert fleet.arrive("r2", "b", SMALL, 0.0) == []
    assert fleet.downloaded("i0", "a", None, 0.0) == [Load("i0", "a")]
    assert fleet.loaded("i0", "a", 0.0) == [Run("i0", "a", "r1"), Download("i0", "b")]


def test_followers_join_a_load_and_spill_past_the_threshold():
    fleet = make(instances=2, spill_outstanding=2)
    (first,) = fleet.arrive("r1", "a", SMALL, 0.0)
    assert fleet.arrive("r2", "a", SMALL, 0.0) == []
    (second,) = fleet.arrive("r3", "a", SMALL, 0.0)
    assert isinstance(second, Download)
    assert second.instance != first.instance
    assert fleet.snapshot().counters.duplicate_loads == 1
    assert fleet.arrive("r4", "a", SMALL, 0.0) == []
    assert fleet.arrive("r5", "a", SMALL, 0.0) == []  # nowhere left to spill: the shortest queue takes it
    assert sorted(each.outstanding for each in fleet.snapshot().instances.values()) == [2, 3]


def test_a_forgotten_waiter_does_not_run_but_its_load_goes_on():
    fleet = make()
    fleet.arrive("r1", "a", SMALL, 0.0)
    assert fleet.cancel("r1") == []
    fleet.downloaded("i0", "a", None, 0.0)
    assert fleet.loaded("i0", "a", 0.0) == []
    assert fleet.arrive("r1", "a", SMALL, 1.0) == [Run("i0", "a", "r1")]


def test_requests_stick_and_cold_models_go_to_the_least_busy_instance():
    fleet = make(instances=2)
    (first,) = fleet.arrive("r1", "a", SMALL, 0.0)
    (second,) = fleet.arrive("r2", "b", SMALL, 0.0)
    assert {first.instance, second.instance} == {"i0", "i1"}
    for request in range(5):
        serve(fleet, f"s{request}", "c")
    assert fleet.snapshot().counters.s3_loads == 3


def test_files_on_a_volume_attract_requests():
    fleet = make(instances=2, memory_bytes=50)
    (first, *_) = serve(fleet, "r1", "a")
    while all(State.ON_DISK is not m.state for m in fleet.snapshot().instances[first.instance].models.values()):
        serve(fleet, "x", f"other-{random.Random(0).random()}-{fleet.snapshot().counters.arrivals}")
    reload = serve(fleet, "r2", "a")
    assert ("Download", "a") not in kinds(reload)
    assert reload[-1] == Run(first.instance, "a", "r2")


def test_random_routing_spreads_a_model_over_all_instances():
    fleet = make(instances=3, routing=RandomRouting())
    for request in range(30):
        serve(fleet, f"r{request}", "a")
    assert all("a" in each.loaded for each in fleet.snapshot().instances.values())


def test_out_of_memory_evicts_one_by_one_and_tries_again_then_gives_up():
    fleet = make(memory_bytes=200)
    for request, model in enumerate("ab"):
        serve(fleet, f"r{request}", model)
    fleet.arrive("big", "c", SMALL, 0.0)
    fleet.downloaded("i0", "c", None, 0.0)
    assert fleet.out_of_memory("i0", "c") == [Unload("i0", "a")]
    assert fleet.unloaded("i0", "a") == [Load("i0", "c")]
    assert fleet.out_of_memory("i0", "c") == [Unload("i0", "b")]
    assert fleet.unloaded("i0", "b") == [Load("i0", "c")]
    (failed,) = fleet.out_of_memory("i0", "c")
    assert (failed.request_id, failed.reason, failed.ran) == ("big", "out_of_memory", False)
    assert fleet.snapshot().instances["i0"].loads_running == 0


def test_out_of_memory_waits_for_a_model_in_use():
    fleet = make(memory_bytes=200)
    fleet.arrive("r1", "a", SMALL, 0.0)
    fleet.downloaded("i0", "a", None, 0.0)
    fleet.loaded("i0", "a", 0.0)
    fleet.arrive("r2", "b", SMALL, 0.0)
    fleet.downloaded("i0", "b", None, 0.0)
    assert fleet.out_of_memory("i0", "b") == []
    assert fleet.finished("r1", 1.0) == [Unload("i0", "a")]


def test_out_of_memory_on_invoke_runs_again_after_an_eviction_and_fails_when_nothing_can_leave():
    fleet = make()
    serve(fleet, "r1", "a")
    serve(fleet, "r2", "b")
    fleet.arrive("r3", "b", SMALL, 0.0)
    assert fleet.ran_out_of_memory("r3") == [Unload("i0", "a")]
    assert fleet.unloaded("i0", "a") == [Run("i0", "b", "r3")]
    (failed,) = fleet.ran_out_of_memory("r3")
    assert (failed.reason, failed.ran) == ("out_of_memory", True)


@pytest.mark.parametrize(
    ("footprint", "reason"), [(Footprint(10, 101), "out_of_memory"), (Footprint(101, 10), "out_of_disk")]
)
def test_a_model_larger_than_an_instance_fails_at_once_or_when_its_size_is_seen(footprint, reason):
    fleet = make()
    (failed,) = fleet.arrive("r1", "a", footprint, 0.0)
    assert failed.reason == reason
    fleet.arrive("r2", "a", SMALL, 0.0)
    failed, discard = fleet.downloaded("i0", "a", footprint, 0.0)
    assert (failed.reason, discard) == (reason, Discard("i0", "a"))
    fleet.discarded("i0", "a")
    assert not fleet.snapshot().instances["i0"].models


def test_failed_downloads_and_loads_fail_all_who_wait_with_the_reason_and_may_be_tried_again():
    fleet = make()
    fleet.arrive("r1", "a", SMALL, 0.0)
    fleet.arrive("r2", "a", SMALL, 0.0)
    failures = fleet.download_failed("i0", "a", "no such key")
    assert [(f.request_id, f.reason, f.detail) for f in failures] == [
        ("r1", "download_failed", "no such key"),
        ("r2", "download_failed", "no such key"),
    ]
    assert fleet.arrive("r3", "a", SMALL, 0.0) == [Download("i0", "a")]
    fleet.downloaded("i0", "a", None, 0.0)
    (failed,) = fleet.load_failed("i0", "a", "bad pickle")
    assert (failed.reason, failed.detail) == ("load_failed", "bad pickle")
    assert fleet.arrive("r4", "a", SMALL, 0.0) == [Load("i0", "a")]


def test_cache_disabled_unloads_and_deletes_right_after_the_invocation():
    fleet = make(cache_enabled=False)
    assert kinds(serve(fleet, "r1", "a"))[2:] == [("Run", "a"), ("Unload", "a"), ("Discard", "a")]
    assert not fleet.snapshot().instances["i0"].models


def test_an_arrival_while_the_model_is_leaving_brings_it_back():
    fleet = make(cache_enabled=False)
    fleet.arrive("r1", "a", SMALL, 0.0)
    fleet.downloaded("i0", "a", None, 0.0)
    fleet.loaded("i0", "a", 0.0)
    assert fleet.finished("r1", 0.0) == [Unload("i0", "a")]
    assert fleet.arrive("r2", "a", SMALL, 0.0) == []
    assert fleet.unloaded("i0", "a") == [Load("i0", "a")]


def test_a_crash_empties_memory_fails_what_ran_and_keeps_the_volume():
    fleet = make(memory_bytes=1000)
    fleet.arrive("r1", "a", SMALL, 0.0)
    fleet.downloaded("i0", "a", None, 0.0)
    fleet.loaded("i0", "a", 0.0)
    fleet.arrive("r2", "b", SMALL, 0.0)
    fleet.downloaded("i0", "b", None, 0.0)  # loading
    fleet.arrive("r3", "c", SMALL, 0.0)  # downloading: goes on
    failed = fleet.crashed("i0")
    assert {(f.request_id, f.reason, f.ran) for f in failed} == {("r1", "crashed", True), ("r2", "crashed", False)}
    assert fleet.finished("r1", 1.0) == []
    assert fleet.snapshot().instances["i0"].memory_used == 0
    assert fleet.arrive("r4", "a", SMALL, 1.0) == [Load("i0", "a")]
    assert fleet.downloaded("i0", "c", None, 1.0) == [Load("i0", "c")]
    assert fleet.loaded("i0", "a", 1.0) == [Run("i0", "a", "r4")]


def test_a_lost_instance_gives_its_requests_back_and_they_may_go_elsewhere():
    fleet = make(instances=2)
    (download,) = fleet.arrive("r1", "a", SMALL, 0.0)
    (failed,) = fleet.remove_instance(download.instance, now=10.0)
    assert (failed.request_id, failed.reason) == ("r1", "instance_lost")
    (again,) = fleet.arrive("r1", "a", SMALL, 10.0)
    assert again.instance != download.instance
    fleet.remove_instance(again.instance, now=15.0)
    assert fleet.arrive("r1", "a", SMALL, 15.0) == [
        Fail("r1", "a", "no_instances", "no instance accepts requests"),
    ]
    assert fleet.snapshot(now=20.0).instance_seconds == 25.0


def test_a_draining_instance_finishes_what_it_has_and_gets_nothing_new():
    fleet = make(instances=2)
    (download,) = fleet.arrive("r1", "a", SMALL, 0.0)
    fleet.drain(download.instance)
    (other,) = fleet.arrive("r2", "a", SMALL, 0.0)
    assert other.instance != download.instance
    fleet.downloaded(download.instance, "a", None, 0.0)
    assert fleet.loaded(download.instance, "a", 0.0) == [Run(download.instance, "a", "r1")]


def test_two_loads_that_meet_507_do_not_starve_each_other():
    fleet = make(memory_bytes=200)
    for model in "ab":
        fleet.arrive(f"r{model}", model, SMALL, 0.0)
        fleet.downloaded("i0", model, None, 0.0)
    assert fleet.out_of_memory("i0", "a") == []  # b is loading
    failed, load = fleet.out_of_memory("i0", "b")
    assert (failed.request_id, load) == ("rb", Load("i0", "a"))  # nothing is left but b, and with b gone a may fit


def test_models_that_extract_larger_than_announced_do_not_lock_the_volume():
    fleet = make(memory_bytes=1000)
    for model in "ab":
        fleet.arrive(f"r{model}", model, SMALL, 0.0)
    large = Footprint(disk_bytes=95, memory_bytes=40)
    assert fleet.downloaded("i0", "a", large, 0.0) == []
    commands = fleet.downloaded("i0", "b", large, 0.0)
    assert kinds(commands) == [("Fail", "a"), ("Discard", "a")]
    assert fleet.discarded("i0", "a") == [Load("i0", "b")]


def test_a_crash_while_a_model_is_leaving_ends_its_leaving():
    fleet = make(volume_bytes=20)
    serve(fleet, "r1", "a")
    serve(fleet, "r2", "b")
    assert fleet.arrive("r3", "c", SMALL, 0.0) == [Unload("i0", "a")]
    assert fleet.crashed("i0") == [Discard("i0", "a")]
    assert fleet.discarded("i0", "a") == [Download("i0", "c")]
    # Were the room still counted as coming, this would wait for it for ever instead of deleting b.
    assert fleet.arrive("r4", "d", SMALL, 0.0) == [Discard("i0", "b")]


def test_misuse_is_refused():
    fleet = make()
    fleet.arrive("r1", "a", SMALL, 0.0)
    with pytest.raises(InvalidInputError, match="already has an unfinished request"):
        fleet.arrive("r1", "a", SMALL, 0.0)
    with pytest.raises(InvalidInputError, match="downloading, not loading"):
        fleet.loaded("i0", "a", 0.0)
    with pytest.raises(InvalidInputError, match="has not run"):
        fleet.finished("r1", 0.0)
    with pytest.raises(InvalidInputError, match="no instance 'i9'"):
        fleet.crashed("i9")
    with pytest.raises(InvalidInputError, match="already"):
        fleet.add_instance("i0", 0.0)
    for bad in ({"memory_bytes": 0}, {"loader_slots": 1.5}, {"spill_outstanding": True}):
        with pytest.raises(InvalidInputError):
            FleetPolicy(**{"memory_bytes": 1, "volume_bytes": 1} | bad)
    with pytest.raises(InvalidInputError):
        Footprint(disk_bytes=-1, memory_bytes=1)


@pytest.mark.parametrize(("files", "loads"), [(True, 8), (False, 2)])
def test_a_model_that_was_evicted_moves_to_an_instance_with_free_memory_if_files_do_not_count(files, loads):
    fleet = make(routing=Sticky(files=files), volume_bytes=1000)
    models = ["a", "b", "c", "d"]  # two fit into memory
    for model in models:
        serve(fleet, f"first {model}", model)
    fleet.add_instance("i1", now=1.0)
    seen = [each for turn in range(2) for model in models for each in serve(fleet, f"{turn} {model}", model, now=2.0)]
    assert sum(isinstance(each, Load) for each in seen) == loads
    assert {each.instance for each in seen if isinstance(each, Load)} == ({"i0"} if files else {"i1"})


def test_a_rule_of_routing_has_a_name():
    assert isinstance(FleetPolicy(memory_bytes=1, volume_bytes=1, routing="random").routing, RandomRouting)
    with pytest.raises(InvalidInputError, match="'sticky', 'sticky_to_memory', 'scatter', 'random', not 'best'"):
        FleetPolicy(memory_bytes=1, volume_bytes=1, routing="best")
