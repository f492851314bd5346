# SPDX-License-Identifier: Apache-2.0
"""Measures bidhall: drivers for foreign order flow, speed gates and the load generator; nothing here is installed.

Run from the root of the repository (`python -m benchmarks.NAME`). It must never be imported by `bidhall` itself.
"""
