# SPDX-License-Identifier: Apache-2.0
"""`python -m bidhall` is `bidhall`."""

from bidhall.cli import main

main(prog_name="bidhall")
