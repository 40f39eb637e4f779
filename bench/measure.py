"""What the kernel knows about a process tree: CPU time, resident memory, instructions."""

import os
import signal
import subprocess

PERF_EVENTS = ["instructions:u", "instructions:k", "cycles"]


def process_tree(root):
    """The process and all that descend from it."""
    children = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as f:
                parent = int(f.read().rsplit(b")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        children.setdefault(parent, []).append(int(name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return sorted(found)


def cpu_ns(pids):
    """Time on a CPU of every thread of the processes, user and kernel."""
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                total += int(f.read().split()[0])
    return total


def rss_bytes(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1]) * 1024
    return total


def foreign_share(before, after, own_ns, seconds):
    """The share of a CPU's time that somebody else used: other processes, and the hypervisor."""
    busy = (after - before) * 1e9 / os.sysconf("SC_CLK_TCK")
    return max(0.0, (busy - own_ns) / (seconds * 1e9))


def busy_ticks(cpu):
    with open("/proc/stat") as f:
        for line in f:
            word = line.split()
            if word[0] == f"cpu{cpu}":
                user, nice, system, _, _, irq, softirq, steal = map(int, word[1:9])
                return user + nice + system + irq + softirq + steal
    return 0


class Perf:
    """Counts instructions of processes between start and stop, where the machine can."""

    def __init__(self):
        self.works = False
        try:
            run = subprocess.run(
                ["perf", "stat", "-x,", "-e", ",".join(PERF_EVENTS), "true"],
                capture_output=True, text=True, timeout=20)
            self.works = run.returncode == 0 and "<not" not in run.stderr
        except (OSError, subprocess.TimeoutExpired):
            pass
        self.process = None

    def start(self, pids):
        if self.works:
            self.process = subprocess.Popen(
                ["perf", "stat", "-x,", "-e", ",".join(PERF_EVENTS), "-p", ",".join(map(str, pids))],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def stop(self):
        """{event: count}, or nothing when it does not work here."""
        if not self.process:
            return {}
        self.process.send_signal(signal.SIGINT)
        text = self.process.communicate(timeout=20)[1]
        self.process = None
        counts = {}
        for line in text.splitlines():
            word = line.split(",")
            if len(word) > 2 and word[0].isdigit():
                counts[word[2]] = int(word[0])
        return counts if len(counts) == len(PERF_EVENTS) else {}
