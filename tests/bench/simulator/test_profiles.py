"""Device profiles: those shipped, and files of one's own."""

import json

import pytest

from bench.simulator.profiles import FOLDER, UnknownProfileError, list_profiles, load_profile

SMALLEST = {"capability": [8, 9], "multiprocessors": 60, "threads_per_multiprocessor": 1536, "memory_bytes": 2**34}


def test_there_are_seven_devices():
    assert list_profiles() == ("A100", "H100", "H200", "RTX3090", "RTX4090", "T4", "V100")


@pytest.mark.parametrize("name", list_profiles())
def test_a_shipped_profile_is_complete(name):
    profile = load_profile(name)
    assert profile.name == name
    assert profile.title.startswith("NVIDIA")
    assert profile.table is not None
    assert profile.table.parent == FOLDER
    described = json.loads(profile.cudnn_json)
    assert described["deviceVer"] == 100 * profile.capability[0] + 10 * profile.capability[1]
    assert described["multiProcessorCount"] == profile.multiprocessors
    assert described["maxThreadsPerSM"] == profile.threads_per_multiprocessor
    assert described["totalGlobalMem"] == profile.memory_bytes


def test_published_numbers_of_an_h200():
    profile = load_profile("H200")
    assert profile.capability == (9, 0)
    assert profile.multiprocessors == 132
    assert profile.threads_per_multiprocessor == 2048
    assert profile.memory_bytes == 141 * 2**30


def test_case_does_not_matter():
    assert load_profile("rtx4090") == load_profile("RTX4090")


@pytest.mark.parametrize(("name", "hint"), [("H20", "did you mean 'H200'"), ("abacus", "there are A100, H100")])
def test_an_unknown_name_says_what_there_is(name, hint):
    with pytest.raises(UnknownProfileError, match=hint):
        load_profile(name)


def test_a_file_of_ones_own_may_leave_cudnn_out(tmp_path):
    path = tmp_path / "RTX4060Ti.json"
    path.write_text(json.dumps(SMALLEST))
    profile = load_profile(str(path))
    assert (profile.name, profile.title, profile.capability) == ("RTX4060Ti", "RTX4060Ti", (8, 9))
    assert profile.cudnn_json is None
    assert profile.table is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot read"),
        ("[]", "no JSON object"),
        (json.dumps(SMALLEST | {"capability": 8.9}), "'capability' is"),
        (json.dumps(SMALLEST | {"multiprocessors": True}), "'multiprocessors' is a positive whole number, not True"),
        (json.dumps(SMALLEST | {"memory_bytes": -1}), "'memory_bytes' is"),
        (json.dumps(SMALLEST | {"title": 4060}), "'title' is text"),
        (json.dumps(SMALLEST | {"cudnn": "yes"}), "'cudnn' is a JSON object"),
    ],
)
def test_a_damaged_file_says_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(UnknownProfileError, match=message):
        load_profile(str(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UnknownProfileError, match="does not exist"):
        load_profile(str(tmp_path / "none.json"))
