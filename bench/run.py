#!/usr/bin/env python3
"""The benchmark: what a call costs through each gateway, in interleaved rounds. See README.md."""

import argparse
import dataclasses
import datetime
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import measure
from peers import Direct, Failed, Haproxy, LOAD_CPU, Mock, Nginx, Penstock, Portkey, GATEWAY_CPU
import report

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
FILES_WANTED = 400000
NOISE_LIMIT = 1.25  # a round whose baseline is this much dearer than its best is thrown away


@dataclasses.dataclass
class Workload:
    name: str
    title: str
    arguments: list  # of the load generator, without the duration
    unit: str = "request"
    count: int = 0  # instead of a duration
    connections: int = 32
    goal: float = 0.0  # the ratio to nginx that penstock shall reach

    def load_arguments(self, seconds):
        much = ["--count", str(self.count)] if self.count else ["--seconds", str(seconds)]
        return self.arguments + ["--connections", str(self.connections)] + much


def stream(model):
    return ["--stream", "--model", model]


WORKLOADS = [
    Workload("N1", "1 KB request, c=32", ["--body-bytes", "1000"], goal=0.65),
    Workload("N10", "10 KB request, c=32", ["--body-bytes", "10000"], goal=0.95),
    Workload("N100", "100 KB request, c=32", ["--body-bytes", "100000"], goal=1.6),
    Workload("S64b", "stream of 64 chunks back to back, c=16", stream("mock-stream-64x0ms"),
             "chunk", connections=16, goal=1.0),
    # The ramp spreads the streams' clocks: 256 chunks at the same instant would flatter batching.
    Workload("S64p", "256 streams of 64 chunks, 20 ms apart",
             stream("mock-stream-64x20ms") + ["--ramp", "0.64"], "chunk", 512, 256, goal=1.0),
]
OTHER_PARTS = ["TTFT", "MEM", "RSS", "START", "RELOAD"]
TTFT_ARGUMENTS = stream("mock-stream-4x5ms") + ["--connections", "256"]
HOLD_ARGUMENTS = stream("mock-stream-100x2000ms")


class Wrong(Exception):
    """A run with a wrong answer: it has no number."""


# --- the rig --------------------------------------------------------------------------------------


class Rig:
    """The temporary folder, the upstream, the load generator and the references."""

    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        self.perf = measure.Perf()
        self.mock = Mock(folder, options.mock)
        self.mock.start(LOAD_CPU)
        self.references = {}
        self.running = {}

    def load_command(self, peer, arguments):
        return [self.options.load, "--to", peer.address, *peer.headers, *arguments]

    def reference(self, peer, arguments):
        """The file with the payload that the upstream itself gives to this request."""
        key = (tuple(request_words(arguments)), peer.name if peer.own_reference else "")
        if key not in self.references:
            path = os.path.join(self.folder, f"reference-{len(self.references)}")
            direct = peer if peer.own_reference else Direct(self.folder, self.mock.address)
            run = subprocess.run(self.load_command(direct, [*request_words(arguments),
                                                            "--save", path]),
                                 capture_output=True, text=True, timeout=120)
            if run.returncode:
                raise Wrong(last_line(run.stderr))
            if peer.own_reference:
                honest = self.reference(Direct(self.folder, self.mock.address), arguments)
                problem = peer.check_own_reference(honest, path)
                if problem:
                    raise Wrong(problem)
            self.references[key] = path
        return self.references[key]

    def load(self, peer, arguments):
        """Runs the load generator; its report, when every answer was right."""
        expect = self.reference(peer, arguments)
        run = subprocess.run(self.load_command(peer, [*arguments, "--expect", expect]),
                             capture_output=True, text=True, timeout=600)
        return checked_report(run.returncode, run.stdout, run.stderr)

    def start(self, peer):
        peer.start()
        self.running[peer.name] = peer
        return peer

    def stop(self, peer):
        peer.stop()
        self.running.pop(peer.name, None)

    def close(self):
        for peer in list(self.running.values()):
            self.stop(peer)
        self.mock.stop()


def last_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def request_words(arguments):
    """Those of the load generator's arguments that decide what is asked."""
    words = []
    for i, word in enumerate(arguments):
        if word in ("--stream",):
            words.append(word)
        elif word in ("--body-bytes", "--model", "--path", "--save-seconds"):
            words += arguments[i:i + 2]
    return words


def checked_report(status, stdout, stderr):
    try:
        result = json.loads(last_line(stdout))
    except ValueError:
        raise Wrong(last_line(stderr)) from None
    if status or result["errors"]:
        raise Wrong(f"{result['errors']} of {result['requests'] + result['errors']} answers: "
                    f"{result['first_error']}")
    if not result["requests"] and "held" not in result:
        raise Wrong("nothing was answered")
    return result


# --- processor time -------------------------------------------------------------------------------


def sample(rig, peer, workload, seconds):
    """One run: what it cost, per unit of the workload."""
    pids = peer.pids()
    rig.perf.start(pids)
    ticks, cpu, begin = measure.busy_ticks(GATEWAY_CPU), measure.cpu_ns(pids), time.monotonic()
    result = rig.load(peer, workload.load_arguments(seconds))
    elapsed = time.monotonic() - begin
    if peer.process.poll() is not None or peer.pids() != pids:
        raise Wrong("a process of it ended or was started during the run")
    cpu = measure.cpu_ns(pids) - cpu
    ticks = measure.busy_ticks(GATEWAY_CPU) - ticks
    counts = rig.perf.stop()
    units = result["chunks"] if workload.unit == "chunk" else result["requests"]
    one = {"ns": cpu / units, "rate": units / result["seconds"], "busy": cpu / elapsed / 1e9,
           "foreign": measure.foreign_share(0, ticks, cpu, elapsed),
           "p99_us": result["latency_us"]["p99"], "units": units}
    if counts:
        user, kernel = counts["instructions:u"], counts["instructions:k"]
        one["user"], one["kernel"] = user / units, kernel / units
        one["cycles_per_instruction"] = counts["cycles"] / (user + kernel)
    return one


def ceiling(rig, workload):
    """What the upstream and the load generator can do without a gateway between them."""
    if workload.count:
        return None  # paced: the upstream's clock decides
    result = rig.load(Direct(rig.folder, rig.mock.address), workload.load_arguments(1))
    return (result["chunks"] if workload.unit == "chunk" else result["requests"]) / result["seconds"]


def noisy_rounds(samples):
    """The rounds in which the baseline itself cost too much: by cycles per instruction where the
    machine counts them, else by the time a unit took, whose instructions hardly vary."""
    key = "cycles_per_instruction"
    if not all(key in s for s in samples):
        key = "ns"
    best = min(s[key] for s in samples)
    return {i for i, s in enumerate(samples) if s[key] > NOISE_LIMIT * best}


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summarise(samples, baseline, dropped, limit):
    kept = [i for i in range(len(samples)) if i not in dropped]
    row = {"rounds": len(samples), "kept": len(kept)}
    for key in ("ns", "user", "kernel", "rate", "busy", "foreign", "p99_us"):
        values = [samples[i][key] for i in kept if key in samples[i]]
        if values:
            row[key] = spread(values)
    row["ratio"] = spread([samples[i]["ns"] / baseline[i]["ns"] for i in kept])
    if "user" in row and "user" in baseline[0]:
        row["user_ratio"] = spread([samples[i]["user"] / baseline[i]["user"] for i in kept])
    row["rig_bound"] = bool(limit and limit < 2 * row["rate"]["median"])
    row["samples"] = samples
    return row


def measure_workload(rig, workload, chosen):
    """All rounds of one workload: {peer: row}; a row with `why` has no number."""
    options = rig.options
    samples, why = {p.name: [] for p in chosen}, {}
    limit = ceiling(rig, workload)
    for peer in chosen:
        try:  # the warm-up is a validity check, too
            rig.load(peer, workload.load_arguments(min(1.0, options.seconds)))
        except Wrong as wrong:
            why[peer.name] = str(wrong)
    for number in range(options.rounds):
        for peer in chosen:
            if peer.name in why:
                continue
            say(f"{workload.name} round {number + 1}/{options.rounds} {peer.name}")
            try:
                samples[peer.name].append(sample(rig, peer, workload, options.seconds))
            except Wrong as wrong:
                rig.perf.stop()
                why[peer.name] = str(wrong)
    baseline = next((p.name for p in chosen if p.name not in why), None)
    table = {"title": workload.title, "unit": workload.unit, "goal": workload.goal, "ceiling": limit,
             "baseline": baseline, "rows": {name: {"why": text} for name, text in why.items()}}
    if baseline:
        dropped = noisy_rounds(samples[baseline])
        table["too_noisy"] = len(dropped) * 7 > 3 * options.rounds
        for peer in chosen:
            if peer.name not in why:
                table["rows"][peer.name] = summarise(samples[peer.name], samples[baseline],
                                                     dropped, limit)
    return table


# --- instructions by valgrind ---------------------------------------------------------------------


def count_instructions(rig, peer, workload):
    """User instructions per unit, exact and the same on a noisy machine: two runs under callgrind
    that differ only in how many requests they make."""
    totals, units = [], []
    for count in (500, 4500):
        twin = peer.twin(rig, f"{workload.name}-{count}")
        twin.prefix = ["valgrind", "--tool=callgrind", "--trace-children=yes",
                       "--callgrind-out-file=/dev/null"]
        try:
            rig.start(twin)
            few = dataclasses.replace(workload, count=count if workload.unit == "request" else count // 20,
                                      connections=16)
            result = rig.load(twin, few.load_arguments(0) + ["--patience", "60"])
            units.append(result["chunks"] if workload.unit == "chunk" else result["requests"])
        finally:
            rig.stop(twin)
        with open(twin.log, encoding="utf-8", errors="replace") as f:
            totals.append(sum(int(line.split(":")[1].replace(",", "")) for line in f
                              if "Collected :" in line))
    if not all(totals):
        raise Wrong("callgrind counted nothing")
    return (totals[1] - totals[0]) / (units[1] - units[0])


def instruction_table(rig, workloads, chosen):
    rows = {}
    for workload in workloads:
        if workload.name == "S64p":
            continue  # paced by the clock, which valgrind does not slow down
        for peer in chosen:
            say(f"{workload.name} under callgrind {peer.name}")
            try:
                value = count_instructions(rig, peer, workload)
            except (Wrong, Failed) as problem:
                value = str(problem)
            rows.setdefault(workload.name, {})[peer.name] = value
    return rows


# --- latency, memory, start, reload ---------------------------------------------------------------


def measure_ttft(rig, chosen):
    """Time to the first payload byte, open loop, as the difference to the upstream's own at the
    same rate in the same round."""
    options = rig.options
    direct = Direct(rig.folder, rig.mock.address)
    added, why, plain = {p.name: {"p50": [], "p99": []} for p in chosen}, {}, []
    slow_modes = set()

    def times(peer, rate):
        return rig.load(peer, TTFT_ARGUMENTS + ["--rate", str(rate), "--seconds",
                                                str(options.seconds)])["ttft_us"]

    for number in range(options.rounds):
        base = {rate: times(direct, rate) for rate in {p.stream_rate for p in chosen}}
        plain.append(base[max(base)])
        for peer in chosen:
            if peer.name in why:
                continue
            say(f"TTFT round {number + 1}/{options.rounds} {peer.name}")
            try:
                got = times(peer, peer.stream_rate)
            except Wrong as wrong:
                why[peer.name] = str(wrong)
                continue
            for key in ("p50", "p99"):
                added[peer.name][key].append(got[key] - base[peer.stream_rate][key])
            if any(38e3 <= got[k] <= 42e3 for k in ("p90", "p99", "p999")):
                slow_modes.add(peer.name)
    rows = {"direct": {k: spread([t[k] for t in plain]) for k in ("p50", "p99")}}
    for peer in chosen:
        rows[peer.name] = {"rate": peer.stream_rate, "delayed_ack": peer.name in slow_modes}
        if peer.name in why:
            rows[peer.name]["why"] = why[peer.name]
        else:
            rows[peer.name].update({k: spread(v) for k, v in added[peer.name].items()})
    return rows


def hold_streams(rig, peer, count):
    """Resident memory of a fresh gateway: before, with `count` streams open, after they ended."""
    arguments = HOLD_ARGUMENTS + ["--save-seconds", "3"]
    expect = rig.reference(peer, arguments)
    before = measure.rss_bytes(peer.pids())
    command = rig.load_command(peer, [*HOLD_ARGUMENTS, "--hold", "--connections", str(count),
                                      "--sources", "4", "--ramp", "4", "--expect", expect,
                                      "--patience", "30"])
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as load:
        opened = load.stdout.readline()
        if opened.startswith('{"open"'):
            time.sleep(2)
            during = measure.rss_bytes(peer.pids())
            load.terminate()
        text, errors = load.communicate(timeout=60)
    result = checked_report(load.returncode, text or opened, errors)
    if result["held"] != count:
        raise Wrong(f"{result['held']} of {count} streams were open at the end")
    time.sleep(3)
    after = measure.rss_bytes(peer.pids())
    return {"streams": count, "before": before, "during": during, "after": after,
            "per_stream": (during - before) / count}


def measure_memory(rig, chosen):
    rows = {}
    for peer in chosen:
        say(f"MEM {peer.name}")
        twin = peer.twin(rig, "mem")
        try:
            rig.start(twin)
            rig.load(twin, ["--count", "100", "--connections", "1"])
            rows[peer.name] = hold_streams(rig, twin, rig.options.streams)
        except (Wrong, Failed) as problem:
            rows[peer.name] = {"why": str(problem)}
        finally:
            rig.stop(twin)
    return rows


def measure_rss(rig, chosen):
    """Resident memory fresh, after load, and after a rest."""
    rows, twins = {}, {}
    for peer in chosen:
        say(f"RSS {peer.name}")
        twin = peer.twin(rig, "rss")
        try:
            rig.start(twin)
            time.sleep(1)
            row = {"idle": measure.rss_bytes(twin.pids())}
            for workload in (WORKLOADS[0], WORKLOADS[2], WORKLOADS[3]):
                rig.load(twin, workload.load_arguments(2 * rig.options.seconds))
            row["loaded"] = measure.rss_bytes(twin.pids())
            rows[peer.name], twins[peer.name] = row, twin
        except (Wrong, Failed) as problem:
            rows[peer.name] = {"why": str(problem)}
            rig.stop(twin)
    say(f"RSS {rig.options.rest:.0f} s of rest")
    time.sleep(rig.options.rest)
    for name, twin in twins.items():
        rows[name]["rested"] = measure.rss_bytes(twin.pids())
        rows[name]["rest_seconds"] = rig.options.rest
        rig.stop(twin)
    return rows


def measure_start(rig, chosen):
    rows = {}
    for peer in chosen:
        say(f"START {peer.name}")
        times = []
        try:
            for _ in range(10):
                twin = peer.twin(rig, "start")
                times.append(twin.start())
                twin.stop()
            rows[peer.name] = spread(times)
            rows[peer.name]["ready"] = peer.ready_path or "accepts"
        except Failed as problem:
            rows[peer.name] = {"why": str(problem)}
    return rows


def measure_reload(rig, chosen):
    rows = {}
    for peer in (p for p in chosen if isinstance(p, Penstock)):
        say(f"RELOAD {peer.name}")
        twin = peer.twin(rig, "reload")
        arguments = ["--body-bytes", "1000", "--connections", "32", "--seconds", "100000"]
        try:
            rig.start(twin)
            pids = twin.pids()
            expect = rig.reference(twin, arguments)
            rows[peer.name] = reload_under_load(rig, twin, arguments + ["--expect", expect])
            if twin.pids() != pids:
                raise Wrong("a process of it ended or was started")
        except (Wrong, Failed) as problem:
            rows[peer.name] = {"why": str(problem)}
        finally:
            rig.stop(twin)
    return rows


def reload_under_load(rig, twin, arguments):
    """Each reload is waited for; the load runs from before the first to after the last."""
    with subprocess.Popen(rig.load_command(twin, arguments), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as load:
        begin = time.monotonic()
        try:
            for number in range(rig.options.reloads):
                twin.reload(number)
        finally:
            load.terminate()
            text, errors = load.communicate(timeout=60)
    result = checked_report(load.returncode, text, errors)
    return {"reloads": rig.options.reloads, "requests": result["requests"], "failed": 0,
            "seconds": time.monotonic() - begin, "p99_us": result["latency_us"]["p99"]}


# --- the command line -----------------------------------------------------------------------------


def say(text):
    print(text, file=sys.stderr, flush=True)


def read_options():
    p = argparse.ArgumentParser(description=__doc__)
    names = [w.name for w in WORKLOADS] + OTHER_PARTS
    p.add_argument("--only", help=f"comma-separated, of {' '.join(names)}; default all")
    p.add_argument("--peers", default="nginx,haproxy,penstock,portkey",
                   help="comma-separated; the first that works is the baseline")
    p.add_argument("--compare", nargs=2, metavar=("A", "B"),
                   help="two penstock binaries; ratios are to A")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=3.0, help="of one run")
    p.add_argument("--quick", action="store_true", help="3 rounds of 1.5 s, shorter rests")
    p.add_argument("--instructions", action="store_true",
                   help="count user instructions under callgrind, too; done by itself where perf "
                        "cannot count them, but not by --quick")
    p.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    p.add_argument("--streams", type=int, default=10000, help="to hold open for MEM")
    p.add_argument("--reloads", type=int, default=1000)
    p.add_argument("--rest", type=float, default=30.0, help="seconds of rest for RSS")
    p.add_argument("--keys", type=int, default=10000, help="in penstock's configuration")
    p.add_argument("--penstock", default=os.path.join(ROOT, "build", "penstock"))
    p.add_argument("--load", default=os.path.join(ROOT, "build", "bench", "load"))
    p.add_argument("--mock", help="the upstream's command, with {address} in it; default "
                                  "PENSTOCK mock --listen {address}")
    options = p.parse_args()
    if options.quick:
        options.rounds, options.seconds = min(options.rounds, 3), min(options.seconds, 1.5)
        options.rest, options.reloads = min(options.rest, 5.0), min(options.reloads, 100)
    options.only = options.only.split(",") if options.only else names
    unknown = set(options.only) - set(names)
    if unknown:
        p.error(f"unknown: {' '.join(sorted(unknown))}; there are {' '.join(names)}")
    if options.rounds < 1 or options.seconds <= 0:
        p.error("at least one round of more than no time")
    if not options.mock:
        options.mock = f"{options.penstock} mock --listen {{address}}"
    return options


def choose_peers(rig, notes):
    options, chosen = rig.options, []
    folder, upstream = rig.folder, rig.mock.address
    if options.compare:
        return [Penstock(folder, upstream, binary, name, options.keys)
                for name, binary in zip("AB", options.compare)]
    makers = {"nginx": Nginx, "haproxy": Haproxy, "portkey": Portkey}
    for name in options.peers.split(","):
        if name == "penstock":
            if os.path.exists(options.penstock):
                chosen.append(Penstock(folder, upstream, options.penstock,
                                       more_keys=options.keys))
            else:
                notes.append(f"penstock: {options.penstock} does not exist")
        elif name not in makers:
            sys.exit(f"run.py: unknown peer {name}; there are penstock {' '.join(makers)}")
        elif makers[name].missing():
            notes.append(f"{name}: {makers[name].missing()}")
        else:
            chosen.append(makers[name](folder, upstream))
    return chosen


def start_all(rig, chosen, notes):
    ready = []
    for peer in chosen:
        try:
            ready.append(rig.start(peer))
        except Failed as problem:
            notes.append(f"no number for {peer.name} ({problem})")
    return ready


def raise_limits():
    """Descriptors for 10,000 streams, twice: inherited by everything that is started."""
    for wanted in (FILES_WANTED, 60000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
        except (ValueError, OSError):
            continue
    return 0


def run_parts(rig, notes):
    options = rig.options
    parts = {}
    chosen = choose_peers(rig, notes)
    workloads = [w for w in WORKLOADS if w.name in options.only]
    if workloads:
        ready = start_all(rig, chosen, notes)
        parts["cpu"] = {w.name: measure_workload(rig, w, ready) for w in workloads}
        if "TTFT" in options.only:
            parts["ttft"] = measure_ttft(rig, ready)
    elif "TTFT" in options.only:
        parts["ttft"] = measure_ttft(rig, start_all(rig, chosen, notes))
    for peer in chosen:
        rig.stop(peer)
    if options.instructions or not (rig.perf.works or options.quick):
        parts["instructions"] = instruction_table(rig, workloads, chosen)
    for name, part in (("MEM", measure_memory), ("RSS", measure_rss), ("START", measure_start),
                       ("RELOAD", measure_reload)):
        if name in options.only:
            parts[name.lower()] = part(rig, chosen)
    return parts


def main():
    options = read_options()
    if not os.path.exists(options.load):
        sys.exit(f"run.py: {options.load} does not exist: build first")
    if (os.cpu_count() or 1) < 2:
        sys.exit("run.py: two processors are needed, one for the gateway alone")
    files = raise_limits()
    os.sched_setaffinity(0, {LOAD_CPU})
    notes = []
    if options.streams > files // 2 - 200:  # a gateway has two sockets a stream
        options.streams = files // 2 - 200
        notes.append(f"only {files:,} open files allowed: {options.streams:,} streams for MEM")
    folder = tempfile.mkdtemp(prefix="penstock-bench-")
    os.chmod(folder, 0o755)  # nginx's worker is another user
    rig = None
    try:
        rig = Rig(options, folder)
        parts = run_parts(rig, notes)
        result = {"time": datetime.datetime.now(datetime.timezone.utc).isoformat(),
                  "machine": report.machine(), "perf": rig.perf.works, "rounds": options.rounds,
                  "seconds": options.seconds, "keys": options.keys, "notes": notes,
                  "compare": options.compare, "parts": parts}
    except (Failed, Wrong) as problem:
        sys.exit(f"run.py: {problem}")
    finally:
        if rig:
            rig.close()
        shutil.rmtree(folder, ignore_errors=True)
    text = report.markdown(result)
    report.keep(os.path.join(HERE, "results"), result, text)
    print(json.dumps(result) if options.json else text)


if __name__ == "__main__":
    main()
