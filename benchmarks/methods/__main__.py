"""Trains every method on the same detector and data, and writes the tables of docs/results.

    python benchmarks/methods --data PATH/hituav/data.yaml --table so-detr
    python benchmarks/methods --data PATH/hituav/data.yaml --table set

Each arm starts from the same pre-training on synthetic scenes and is trained with the schedule of recipe.yaml beside
this file, on one thread. What is complete under `--folder` is not made again, and a run that was killed goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from arms import TABLES
from costs import measure, read_costs
from runner import Settings, prepare, run_arms
from tables import write_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="YAML of HIT-UAV")
    parser.add_argument("--table", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--folder", type=Path, default=Path("runs/methods"), help="of the runs; it is gone on with")
    parser.add_argument("--results", type=Path, default=Path("docs/results"), help="of the pages that get the tables")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2, help="runs at once, one thread each")
    parser.add_argument("--tables-only", action="store_true", help="train nothing, write the tables of what is there")
    parser.add_argument("--costs", action="store_true", help="time the networks, too; keep the machine quiet")
    args = parser.parse_args()
    if not args.data.is_file():
        parser.error(f"--data {args.data} does not exist.")
    settings = Settings(args.folder.resolve(), args.data.resolve(), args.epochs, args.batch, args.workers)
    arms = list(dict.fromkeys(arm for name in args.table for arm in TABLES[name].arms))
    failed: list[str] = []
    if not args.tables_only:
        prepare(settings)
        failed = run_arms(settings, arms, args.seeds)
    if args.costs:
        measure(settings, arms, args.seeds[0])
    costs = read_costs(settings)
    for name in args.table:
        table = TABLES[name]
        of_table = {arm.name: costs[arm.name] for arm in table.arms if arm.name in costs}
        if len(set(of_table.values())) == 1:
            of_table = {}  # one network: training alone differs
        print(f"\n{table.title}\n{write_table(settings, name, table, args.seeds, args.results, of_table)}")
    if failed:
        raise SystemExit("\n".join(["These runs failed:", *failed]))


if __name__ == "__main__":
    main()
