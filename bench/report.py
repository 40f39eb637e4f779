"""The result as Markdown, and where it is kept."""

import json
import os
import platform
import re


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        found = re.search(r"model name\s*: (.*)", f.read())
    if found:
        model = found.group(1)
    return f"{model}, {os.cpu_count()} processors, Linux {platform.release()}"


def keep(folder, result, text):
    os.makedirs(folder, exist_ok=True)
    stem = os.path.join(folder, re.sub(r"[^0-9T]", "", result["time"][:19]))
    with open(stem + ".json", "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)
    with open(stem + ".md", "w", encoding="utf-8") as f:
        f.write(text + "\n")


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]


def three(value, scale=1.0, form="{:.2f}"):
    if not value:
        return "n/a"
    median, low, high = (form.format(value[k] * scale) for k in ("median", "min", "max"))
    return f"{median} ({low} - {high})"


def middle(value, scale=1.0, form="{:.1f}"):
    return form.format(value["median"] * scale) if value else "n/a"


def refusal(row):
    """The cell of a row without a number."""
    return f"no number ({row['why']})"


def cpu_row(name, row, unit):
    if "why" in row:
        return [name, refusal(row), "", "", "", "", "", "", ""]
    flags = []
    if row["rig_bound"]:
        flags.append("rig-bound")
    if row["foreign"]["median"] > 0.1:
        flags.append(f"{row['foreign']['median']:.0%} of the processor taken by others")
    return [name, three(row["ns"], 1e-3), three(row["ratio"]), middle(row.get("user"), 1, "{:,.0f}"),
            middle(row.get("kernel"), 1, "{:,.0f}"), middle(row["rate"], 1, "{:,.0f}"),
            middle(row["busy"], 100, "{:.0f} %"), f"{row['kept']}/{row['rounds']}",
            ", ".join(flags)]


def cpu_part(tables, perf):
    lines = ["## Processor time", ""]
    if not perf:
        lines += ["This machine counts no instructions (perf has no hardware events); rounds are "
                  "judged noisy by the baseline's time instead of its cycles per instruction.", ""]
    for name, t in tables.items():
        lines += [f"### {name}: {t['title']}", ""]
        if t["baseline"]:
            lines += [f"Ratios are to {t['baseline']} in the same round: median (least - most)."]
        if t["baseline"] == "nginx":
            lines += [f"Penstock's goal: at most {t['goal']}."]
        if t["ceiling"]:
            lines += [f"Without a gateway the rig makes {t['ceiling']:,.0f} {t['unit']}s/s."]
        if t.get("too_noisy"):
            lines += ["**Too noisy**: more than three rounds in seven had to go."]
        head = ["peer", f"us/{t['unit']}", "ratio", "user instr", "kernel instr",
                f"{t['unit']}s/s", "busy", "rounds kept", "remarks"]
        lines += [""] + table(head, [cpu_row(n, r, t["unit"]) for n, r in t["rows"].items()]) + [""]
    return lines


def instructions_part(rows):
    lines = ["## User instructions a request or chunk, under callgrind", ""]
    names = list(dict.fromkeys(n for row in rows.values() for n in row))
    body = [[w] + [f"{row[n]:,.0f}" if isinstance(row.get(n), float) else f"n/a ({row.get(n)})"
                   for n in names] for w, row in rows.items()]
    return lines + table(["workload"] + names, body) + [""]


def ttft_part(part):
    lines = ["## Time to first byte of a stream, open loop (us)", "",
             "What each adds to the upstream's own time at the same rate in the same round.", ""]
    body = []
    for name, row in part.items():
        if "why" in row:
            body.append([name, row["rate"], refusal(row), "", ""])
            continue
        body.append([name + (" (not a difference)" if name == "direct" else ""),
                     row.get("rate", ""), three(row["p50"], 1, "{:.0f}"), three(row["p99"], 1, "{:.0f}"),
                     "a mode at 38 - 42 ms: delayed ACK" if row.get("delayed_ack") else ""])
    return lines + table(["peer", "streams/s", "p50", "p99", "remarks"], body) + [""]


def mib(size):
    return f"{size / 2**20:.1f}"


def memory_part(rows):
    body = []
    for name, r in rows.items():
        body.append([name, refusal(r), "", "", "", ""] if "why" in r else
                    [name, f"{r['streams']:,}", mib(r["before"]), mib(r["during"]),
                     mib(r["after"]), f"{r['per_stream'] / 1024:.2f}"])
    return (["## Resident memory with open streams", ""] +
            table(["peer", "streams", "before MiB", "open MiB", "ended MiB", "KiB/stream"], body) +
            [""])


def rss_part(rows):
    body = []
    for name, r in rows.items():
        body.append([name, refusal(r), "", ""] if "why" in r else
                    [name, mib(r["idle"]), mib(r["loaded"]), mib(r["rested"])])
    return ["## Resident memory (MiB)", ""] + table(
        ["peer", "idle", "after load", "after a rest"], body) + [""]


def start_part(rows):
    body = []
    for name, r in rows.items():
        body.append([name, refusal(r), ""] if "why" in r else
                    [name, three(r, 1e3, "{:.1f}"), r["ready"]])
    return ["## Start to ready (ms, fork and exec included)", ""] + table(
        ["peer", "of 10 starts", "ready is"], body) + [""]


def reload_part(rows):
    body = []
    for name, r in rows.items():
        body.append([name, refusal(r), "", "", ""] if "why" in r else
                    [name, r["reloads"], f"{r['requests']:,}", r["failed"], f"{r['p99_us']:.0f}"])
    return ["## Reload under load", ""] + table(
        ["peer", "reloads", "requests", "failed", "p99 us"], body) + [""]


def markdown(result):
    parts = result["parts"]
    lines = ["# Benchmark", "",
             f"{result['time'][:19]} UTC; {result['machine']}; {result['rounds']} rounds of "
             f"{result['seconds']} s; penstock with {result['keys']:,} keys.", ""]
    if result["compare"]:
        lines += [f"A is `{result['compare'][0]}`, B is `{result['compare'][1]}`.", ""]
    lines += [f"- {note}" for note in result["notes"]] + ([""] if result["notes"] else [])
    if "cpu" in parts:
        lines += cpu_part(parts["cpu"], result["perf"])
    for name, write in (("instructions", instructions_part), ("ttft", ttft_part),
                        ("mem", memory_part), ("rss", rss_part), ("start", start_part),
                        ("reload", reload_part)):
        if name in parts:
            lines += write(parts[name])
    return "\n".join(lines)
