"""`actionrec app` as a command line; its pages are tested in test_browser."""

import sys

from actionrec.page import server


def test_without_a_run_there_is_no_page(run, tmp_path):
    outcome = run("app", f"paths.outputs={tmp_path}")
    assert outcome.status == 1
    assert f"no finished run under {tmp_path}; train one, for example: make demo" in outcome.err


def test_a_port_in_use_is_an_error(run, outputs):
    with server.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        outcome = run("app", f"paths.outputs={outputs}", f"port={port}")
    assert outcome.status == 1
    assert f"port={port}: address already in use; choose another port" in outcome.err


def test_without_the_packages_their_extra_is_named(run, outputs, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    outcome = run("app", f"paths.outputs={outputs}")
    assert outcome.status == 1
    assert outcome.err.endswith("the page needs packages: pip install 'actionrec[app]'\n")


def test_settings_have_limits(run, outputs):
    for wrong in ("port=70000", "max_megabytes=0", "max_seconds=-1", "reject=2"):
        outcome = run("app", f"paths.outputs={outputs}", wrong)
        assert outcome.status == 1
        assert wrong in outcome.err


def test_the_server_listens_on_this_machine_alone_unless_told_otherwise(compose_config):
    assert compose_config("app").host == "127.0.0.1"
