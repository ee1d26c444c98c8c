"""utils.pages: a program starts over once, with its words."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import os, sys
from utils import pages
print("started", flush=True)
pages.huge()
print(os.environ.get("GLIBC_TUNABLES"), sys.argv[1:], sys.flags.dont_write_bytecode)
"""


def said(tmp_path, *words, **variables):
    (tmp_path / "program.py").write_text(PROGRAM)
    env = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    env |= {"PYTHONPATH": str(ROOT)} | variables
    command = [sys.executable, "-B", str(tmp_path / "program.py"), *words]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_a_program_starts_over_once_with_its_words(tmp_path):
    wanted = "glibc.malloc.hugetlb=1 ['--model.depth', '2'] 1"
    assert said(tmp_path, "--model.depth", "2") == ["started", "started", wanted]


def test_what_the_user_set_stays_and_help_is_not_kept_waiting(tmp_path):
    assert said(tmp_path, GLIBC_TUNABLES="") == ["started", " [] 1"]
    assert said(tmp_path, "--help") == ["started", "None ['--help'] 1"]


def test_a_script_that_another_program_runs_does_not_start_that_one_over(tmp_path):
    said(tmp_path, "--help")  # writes the program
    code = f"import runpy, sys; sys.argv = ['program.py']; runpy.run_path({str(tmp_path / 'program.py')!r})"
    env = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"} | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert ran.stdout.splitlines() == ["started", f"None [] {sys.flags.dont_write_bytecode}"]
