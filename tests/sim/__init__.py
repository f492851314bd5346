# SPDX-License-Identifier: Apache-2.0
"""The deterministic simulator: real replicas, writers and PostgreSQL logs in a world that is drawn from a seed.

What is real: `bidhall.replica`, `bidhall.log` (the writer and `PostgresLog`), snapshots and recovery, the kernel, the
views. What is simulated is below them: the event loop and its time (`loop`), the operating system (`environment`), the
database server (`server`), damage to files (`disk`), the processes that die and start again (`process`) and those who
send commands (`clients`). `oracle` judges, `world` puts it together, `canaries` plants bugs that must be found.
`python -m tests.sim SEED` replays one world and prints its story. Nothing here may ask the machine for time, chance or
threads: the same seed is the same world for ever.
"""
