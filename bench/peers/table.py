"""Makes tables of the runs that compare_peers.sh has recorded. usage: table.py RUNS.jsonl [OUT.json TITLE...]

RUNS.jsonl has a JSON object a line: what a peer prints, and its round. Prints Markdown: our step beside PyTorch's best
variant of those whose gradient can be believed, and all programs. A ratio is theirs / ours within a round, since
machines drift; of it and of seconds, the median of the rounds and (least..most) are shown. With OUT.json, writes titles
and runs there instead."""

import json
import statistics
import sys

OURS = "pareidolia"
LEAST_COSINE = {"fp32": 0.999, "tf32": 0.97, "fp16": 0.97, "bf16": 0.75}  # of a gradient with float64's: host/compare.c


def name_of(run):
    """The program as tables call it."""
    return f"{run['peer']} {run['variant']}" if run["variant"] else run["peer"]


def grouped(runs):
    """{(size, precision): {program: its runs in the order of rounds}}, in the order in which they were measured."""
    groups = {}
    for run in runs:
        key = f"{run['width']}x{run['height']}", run["precision"]
        groups.setdefault(key, {}).setdefault(name_of(run), []).append(run)
    return groups


def seconds(runs):
    """The median of a program's rounds."""
    return statistics.median(run["seconds_per_step"] for run in runs)


def seconds_text(runs):
    """Four digits of the median."""
    value = seconds(runs)
    return f"{value:.4f}" if value >= 0.01 else f"{value:.6f}"


def ratio_text(theirs, ours):
    """Theirs / ours within each round that has both."""
    by_round = {run["round"]: run["seconds_per_step"] for run in ours}
    ratios = [run["seconds_per_step"] / by_round[run["round"]] for run in theirs if run["round"] in by_round]
    if not ratios:
        return "-"
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"


def error_text(runs, key, form):
    """A number from the comparison of the gradient, which one round makes."""
    values = [run["error"][key] for run in runs if run.get("error") and run["error"][key] is not None]
    return format(values[0], form) if values else "-"


def most_text(runs, key, unit, form):
    """The largest that any round tells, in a unit."""
    values = [run[key] for run in runs if run.get(key) is not None]
    return format(max(values) / unit, form) if values else "-"


def cosines(runs):
    """Of a program's gradient with float64's, one or none; 0 where there is no such number."""
    return [run["error"]["cosine"] or 0 for run in runs if run.get("error")][:1]


def believed(precision, runs):
    """Whether a program's gradient is not too far off, as far as it was compared, for its times to be believed."""
    return all(cosine >= LEAST_COSINE[precision] for cosine in cosines(runs))


def table(columns, rows):
    """Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def best_table(groups):
    """Ours beside the fastest PyTorch variant that can be believed."""
    rows = []
    for (size, precision), programs in groups.items():
        ours = programs.get(OURS)
        variants = [name for name in programs if name.startswith("torch ") and believed(precision, programs[name])]
        if not ours:
            continue
        best = min(variants, key=lambda name: seconds(programs[name]), default=None)
        theirs = programs.get(best, [])
        rows.append(
            [
                size,
                precision,
                seconds_text(ours),
                seconds_text(theirs) if theirs else "-",
                best.split()[1] if best else "-",
                ratio_text(theirs, ours),
                error_text(ours, "relative_l2", ".2e"),
                error_text(theirs, "relative_l2", ".2e"),
                most_text(ours, "peak_bytes", 1e6, ".0f"),
                most_text(theirs, "peak_bytes", 1e6, ".0f"),
            ]
        )
    columns = ["size", "precision", "ours, s", "PyTorch, s", "its best variant", "PyTorch / ours"]
    columns += ["our gradient's error", "PyTorch's", "our peak, MB", "PyTorch's, MB"]
    return table(columns, rows)


def all_table(groups):
    """Every program."""
    rows = []
    for (size, precision), programs in groups.items():
        ours = programs.get(OURS, [])
        work = ours[0]["gflops"] * ours[0]["seconds_per_step"] if ours else None
        for name, runs in programs.items():
            rows.append(
                [
                    size,
                    precision,
                    name,
                    seconds_text(runs),
                    f"{work / seconds(runs):.0f}" if work else "-",
                    ratio_text(runs, ours),
                    error_text(runs, "relative_l2", ".2e"),
                    error_text(runs, "cosine", ".7f"),
                    most_text(runs, "threads", 1, ".0f"),
                    most_text(runs, "peak_bytes", 1e6, ".0f"),
                    most_text(runs, "load_seconds", 1, ".1f"),
                    most_text(runs, "warmup_seconds", 1, ".1f"),
                ]
            )
    columns = ["size", "precision", "program", "s a step", "GFLOP/s", "its / ours", "gradient's error", "cosine"]
    return table([*columns, "threads", "peak, MB", "load, s", "warm-up, s"], rows)


def doubts(groups):
    """Sentences on programs that are not believed."""
    for (size, precision), programs in groups.items():
        for name, runs in programs.items():
            if not believed(precision, runs):
                yield f"Not to be believed: {name} at {size}, {precision}: its gradient's cosine is {cosines(runs)[0]}."


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    with open(sys.argv[1]) as file:
        runs = [json.loads(line) for line in file]
    if len(sys.argv) > 2:
        with open(sys.argv[2], "w") as file:
            json.dump({"titles": sys.argv[3:], "runs": runs}, file, indent=1)
            file.write("\n")
        return
    groups = grouped(runs)
    print(best_table(groups), all_table(groups), sep="\n\nAll programs:\n\n")
    for doubt in doubts(groups):
        print(f"\n{doubt}")


if __name__ == "__main__":
    main()
