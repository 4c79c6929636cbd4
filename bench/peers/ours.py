"""Turns what pareidolia bench --json prints for one size into the line of a peer. usage: ours.py FILE.json"""

import json
import sys


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with open(sys.argv[1]) as file:
        report = json.load(file)
    results, machine = report["results"], report["machine"]
    if len(results) != 1:
        sys.exit(f"ours.py: {sys.argv[1]} has {len(results)} results, not one")
    version = f"pareidolia {machine['version']} at {machine['commit'] or '?'}"
    line = {"peer": "pareidolia", "variant": "", "version": version} | results[0]
    line["warmup_seconds"] = line["first_plan_seconds"] + line["first_step_seconds"]
    print(json.dumps(line))


if __name__ == "__main__":
    main()
