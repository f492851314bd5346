# SPDX-License-Identifier: Apache-2.0
"""One file for each client library that a door to another service needs; each is imported when it is first used."""
