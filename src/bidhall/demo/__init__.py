# SPDX-License-Identifier: Apache-2.0
"""Market agents: what makes the books of `bidhall serve --demo` deep and alive from the first second.

They are clients like any other: accounts of their own, commands through `replica.submit`, no way past the log.
"""
