"""A process without file descriptors says so, answers probes, and recovers."""

import subprocess
import sys

from metering.process.descriptors import descriptor_problem

PROGRAM = """
import os, resource
from metering.process.descriptors import DescriptorWatch, descriptor_problem, raise_descriptor_limit
from metering.process.logs import RateLimited, get_log
from taximeter_emitter.clock import SystemClock

resource.setrlimit(resource.RLIMIT_NOFILE, (100, 600))
assert descriptor_problem(300) is None
assert "600" in descriptor_problem(1000)
raise_descriptor_limit(300)
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (556, 600)
raise_descriptor_limit(1)
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (556, 600)
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 600))
counted = []
watch = DescriptorWatch(get_log("test"), RateLimited(SystemClock()), count=lambda: counted.append(1))
assert watch.problem() is None
taken = []
try:
    while True:
        taken.append(os.dup(0))
except OSError:
    pass
for _ in range(3):
    assert watch.problem() == "no file descriptor of 100 is left"
assert len(counted) == 3
os.close(os.dup(0))  # a probe is answered
for each in taken:
    os.close(each)
assert watch.problem() is None
assert watch.problem() is None
watch.close()
print("done")
"""


def test_a_process_without_descriptors_says_so_and_recovers() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert done.stderr.count("no file descriptor is left") == 1


def test_more_connections_than_any_process_may_have_are_named() -> None:
    assert descriptor_problem(1) is None
    found = descriptor_problem(10**10)
    assert found is None or "connections_max 10000000000 needs" in found
