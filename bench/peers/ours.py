"""Turns what pareidolia bench --json prints for one size into the line of a peer. usage: ours.py FILE.json VERSION"""

import json
import os
import sys


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1]) as file:
        results = json.load(file)["results"]
    if len(results) != 1:
        sys.exit(f"ours.py: {sys.argv[1]} has {len(results)} results, not one")
    line = {"peer": "pareidolia", "variant": "", "version": sys.argv[2]} | results[0]
    line["weights"] = os.path.basename(line["weights"])  # where it lies is nobody's business
    line["load_seconds"] = line["startup_seconds"]
    line["warmup_seconds"] = line["plan_seconds"] + line["first_step_seconds"]
    print(json.dumps(line))


if __name__ == "__main__":
    main()
