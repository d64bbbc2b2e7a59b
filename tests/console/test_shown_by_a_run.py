"""What the tests read of a run's output: tracebacks of ours, and its one line of error."""

from command import Result, tracebacks

OURS = """\
12:00:01 scores  6 rows
Traceback (most recent call last):
  File "/x/flows/cli.py", line 1, in main
    run()

  File "/x/site-packages/polars/a.py", line 2, in run
ValueError: no
"""
OF_A_THREAD = """\
Traceback (most recent call last):
  File "/x/site-packages/prefect/flows.py", line 1, in send
ConnectionError: no
"""


def test_a_traceback_counts_when_it_goes_through_our_code() -> None:
    assert len(tracebacks(OURS)) == 1
    assert tracebacks(OF_A_THREAD) == []
    assert len(tracebacks(OF_A_THREAD + OURS)) == 1


def test_a_warning_of_prefects_clients_is_no_error_of_the_run() -> None:
    warning = "12:00:01.123 | WARNING | prefect.events - slow\n"
    assert Result(2, "", f"12:00:01 x  y\n{warning}error: a\n", 0.0).error == "error: a"
